//! Rewrites and redirects: whatever route is accepted, and whatever a client sends, what comes out
//! is a target that can be sent and a `Location`.

use std::sync::Arc;

use bolero::TypeGenerator;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery},
};
use serde_json::json;
use weir::{
    model::{
        resource::Resource,
        route::{PathMatch, Rule, Scheme},
    },
    sources::parse::{Manifest, Strings, manifest},
    traffic::{redirect, rewrite},
};

use crate::input::{self, Piece, pick, spell, text};

const TARGETS: &[&str] = &[
    "/", "//", "/a", "/a/b", "/%61", "/..", "/.", "\\", "%2f", "%25", "%", "?", "#", "@", ":", "*",
    "é", "\"", "{", " ", "a=b", "http://",
];

const HOSTS: &[&str] = &[
    "a",
    "shop.example",
    "[::1]",
    ":",
    "80",
    "@",
    "user",
    "-",
    ".",
];

/// What a route's author writes, and what a client sends.
#[derive(Clone, Debug, TypeGenerator)]
struct Case {
    prefix: Vec<Piece>,
    kind: u8,
    replacement: Vec<Piece>,
    hostname: Option<Vec<Piece>>,
    scheme: u8,
    port: Option<u16>,
    target: Vec<Piece>,
    authority: Vec<Piece>,
    dialled: u16,
}

impl Case {
    /// The rule with that filter, if validation accepts it.
    fn rule(&self, filter: &str) -> Option<Rule> {
        let replacement = text(TARGETS, &self.replacement);
        let path = match self.kind % 3 {
            0 => json!({"type": "ReplaceFullPath", "replaceFullPath": replacement}),
            1 => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}),
            _ => json!(null),
        };
        let mut body = json!({"path": path});
        if let Some(hostname) = &self.hostname {
            body["hostname"] = text(HOSTS, hostname).into();
        }
        let kind = match filter {
            "urlRewrite" => "URLRewrite",
            _ => {
                body["scheme"] =
                    pick(&[json!(null), json!("http"), json!("https")], self.scheme).clone();
                body["port"] = self.port.into();
                "RequestRedirect"
            }
        };
        let prefix = ["/", &text(TARGETS, &self.prefix)].concat();
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
                "filters": [{"type": kind, filter: body}],
            }]},
        });
        match manifest(&route, &mut Strings::default()).ok()? {
            Manifest::Object(_, Resource::Route(route)) => {
                Arc::into_inner(route).unwrap().rules.pop()
            }
            other => panic!("{other:?}"),
        }
    }

    fn target(&self) -> Option<PathAndQuery> {
        PathAndQuery::try_from(spell(TARGETS, &self.target)).ok()
    }
}

fn prefix(rule: &Rule) -> Option<&str> {
    match rule.matches.first()?.path.as_ref()? {
        PathMatch::Prefix(prefix) => Some(prefix),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rewritten_target_is_one() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Case>()
        .for_each(|case| {
            let (Some(target), Some(rule)) = (case.target(), case.rule("urlRewrite")) else {
                return;
            };
            let rewrite = rule.filters.rewrite.as_ref().unwrap();
            if let Some(modifier) = &rewrite.path {
                let new = rewrite::path_and_query(modifier, target.as_str(), prefix(&rule));
                let parsed = PathAndQuery::try_from(&*new).expect(&new);
                assert_eq!(parsed.as_str(), new);
                assert_eq!(parsed.query(), target.query(), "{new}");
            }
            if let Some(hostname) = &rewrite.hostname {
                Authority::try_from(&**hostname).expect(hostname);
            }
        });
}

#[test]
fn a_redirect_leads_to_a_url() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Case>()
        .for_each(|case| {
            let (Some(target), Some(rule)) = (case.target(), case.rule("requestRedirect")) else {
                return;
            };
            let authority = Authority::try_from(spell(HOSTS, &case.authority)).ok();
            let origin = redirect::Origin {
                scheme: Scheme::Http,
                authority: authority.as_ref().map_or("", Authority::as_str),
                port: case.dialled,
            };
            let redirect = rule.filters.redirect.as_ref().unwrap();
            let location = redirect::location(redirect, &origin, target.as_str(), prefix(&rule));
            HeaderValue::try_from(&*location).expect(&location);
            let url: Uri = location.parse().expect(&location);
            if let Some(hostname) = &redirect.hostname {
                assert_eq!(url.host(), Some(&**hostname), "{location}");
            }
            // Two slashes would name a host that the client did not ask for.
            assert!(
                url.host().is_some() || !location.starts_with("//"),
                "{location}"
            );
        });
}
