//! Matches, rules, parents, timeouts and sessions of HTTPRoutes.

use std::time::Duration;

use http::Method;

use super::{assert_errors, assert_spec_errors, errors, parse, route, yaml};
use crate::{
    model::route::{
        Backend, BackendRef, PathMatch, Route, RouteKind, Rule, SessionBy, SessionPersistence,
        TextMatch,
    },
    sources::parse::Manifest,
};

fn http(spec: &str) -> Route {
    Route::clone(&route(&yaml("HTTPRoute", spec)))
}

fn rule(rule: &str) -> Rule {
    let mut rules = http(&format!("rules: [{rule}]")).rules;
    assert_eq!(rules.len(), 1);
    rules.remove(0)
}

/// Table: a rule, and how the only error of its route begins.
fn assert_rule_errors(table: &[(&str, &str)]) {
    for (rule, expected) in table {
        let spec = format!("rules: [{rule}]");
        assert_spec_errors("HTTPRoute", &[(&spec, expected)]);
    }
}

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.into())
}

#[test]
fn without_rules_everything_matches_and_leads_nowhere() {
    let route = http("");
    assert_eq!(
        (route.kind, &*route.name.namespace),
        (RouteKind::Http, "shop")
    );
    assert_eq!(route.rules, [Rule::default()]);
    assert_spec_errors("HTTPRoute", &[("rules: []", "spec.rules: is required")]);
}

#[test]
fn paths() {
    for (path, expected) in [
        ("{}", PathMatch::Prefix("/".into())),
        ("{value: /}", PathMatch::Prefix("/".into())),
        ("{value: /a/b/}", PathMatch::Prefix("/a/b".into())),
        (
            "{type: PathPrefix, value: /a}",
            PathMatch::Prefix("/a".into()),
        ),
        ("{type: Exact, value: /a/}", PathMatch::Exact("/a/".into())),
        (
            "{type: Exact, value: '/%41;=1'}",
            PathMatch::Exact("/%41;=1".into()),
        ),
    ] {
        let rule = rule(&format!("{{matches: [{{path: {path}}}]}}"));
        assert_eq!(rule.matches[0].path, Some(expected), "{path}");
    }
    let rule = rule("{matches: [{path: {type: RegularExpression, value: '/(?i:a+)|/b'}}]}");
    let Some(PathMatch::Regex(pattern)) = &rule.matches[0].path else {
        panic!("{rule:?}");
    };
    assert!(pattern.is_match("/aA") && pattern.is_match("/b") && !pattern.is_match("/bb"));
}

#[test]
fn what_is_wrong_with_a_path() {
    for value in [
        "a", "''", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb", "'/a#b'",
        "/a?b", "'/a b'", "/ä", "/%4", "'/a\"'",
    ] {
        for kind in ["Exact", "PathPrefix"] {
            let rule = format!("{{matches: [{{}}, {{path: {{type: {kind}, value: {value}}}}}]}}");
            assert_rule_errors(&[(&rule, "spec.rules[0].matches[1].path.value: ")]);
        }
    }
    let long = format!("{{matches: [{{path: {{value: /{}}}}}]}}", "a".repeat(1024));
    assert_rule_errors(&[
        (
            &long,
            "spec.rules[0].matches[0].path.value: is longer than 1024",
        ),
        (
            "{matches: [{path: {type: Prefix, value: /}}]}",
            "spec.rules[0].matches[0].path.type: \"Prefix\" is not one of Exact, PathPrefix, RegularExpression",
        ),
        (
            "{matches: [{path: {type: RegularExpression, value: '/(a'}}]}",
            "spec.rules[0].matches[0].path.value: \"/(a\" is not a regular expression",
        ),
        // Balanced only together with what stands around it.
        (
            "{matches: [{path: {type: RegularExpression, value: '/a)|(?:.*'}}]}",
            "spec.rules[0].matches[0].path.value: ",
        ),
        (
            "{matches: [{path: {type: RegularExpression, value: '(a{1000}){1000}'}}]}",
            "spec.rules[0].matches[0].path.value: ",
        ),
        (
            "{matches: [{path: {value: 7}}]}",
            "spec.rules[0].matches[0].path.value: invalid type",
        ),
        (
            "{matches: [{paths: {value: /}}]}",
            "spec.rules[0].matches[0].paths: unknown field `paths`",
        ),
    ]);
}

#[test]
fn headers_query_and_method() {
    let rule = rule(
        "{matches: [{
            method: PATCH,
            headers: [
              {name: X-Env, value: canary},
              {name: x-env, value: ignored},
              {name: cookie, type: RegularExpression, value: '.*a=1.*'}],
            queryParams: [
              {name: q, value: '1'},
              {name: Q, value: '2'},
              {name: q, value: '3'},
              {name: r, type: RegularExpression, value: '[0-9]+'}]}]}",
    );
    let request = &rule.matches[0];
    assert_eq!(request.path, None);
    assert_eq!(request.method, Some(Method::PATCH));
    let headers: Vec<&str> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(headers, ["x-env", "cookie"]);
    assert_eq!(request.headers[0].1, exact("canary"));
    assert!(matches!(&request.headers[1].1, TextMatch::Regex(p) if p.is_match("b=2; a=1")));
    let query: Vec<&str> = request.query.iter().map(|(name, _)| &**name).collect();
    assert_eq!(query, ["q", "Q", "r"]);
    assert_eq!(request.query[0].1, exact("1"));
    assert_rule_errors(&[
        (
            "{matches: [{method: get}]}",
            "spec.rules[0].matches[0].method: \"get\" is not one of GET, HEAD",
        ),
        (
            "{matches: [{headers: [{name: ':path', value: a}]}]}",
            "spec.rules[0].matches[0].headers[0].name: \":path\" is not the name of an HTTP header",
        ),
        (
            "{matches: [{headers: [{name: '', value: a}]}]}",
            "spec.rules[0].matches[0].headers[0].name: ",
        ),
        (
            "{matches: [{headers: [{name: a, value: ''}]}]}",
            "spec.rules[0].matches[0].headers[0].value: is required",
        ),
        (
            "{matches: [{headers: [{name: a}]}]}",
            "spec.rules[0].matches[0].headers[0]: missing field `value`",
        ),
        (
            "{matches: [{headers: [{name: a, value: a, type: Prefix}]}]}",
            "spec.rules[0].matches[0].headers[0].type: \"Prefix\"",
        ),
        (
            "{matches: [{headers: [{name: a, value: '[', type: RegularExpression}]}]}",
            "spec.rules[0].matches[0].headers[0].value: \"[\" is not a regular expression",
        ),
        (
            "{matches: [{queryParams: [{name: 'a b', value: c}]}]}",
            "spec.rules[0].matches[0].queryParams[0].name: ",
        ),
        (
            "{matches: [{queryParams: [{name: a, value: ''}]}]}",
            "spec.rules[0].matches[0].queryParams[0].value: is required",
        ),
        (
            "{matches: [{header: [{name: a, value: b}]}]}",
            "spec.rules[0].matches[0].header: unknown field `header`",
        ),
    ]);
}

#[test]
fn lists_are_bounded() {
    let list = |item: &str, count: usize| vec![item; count].join(", ");
    let header = |count| {
        format!(
            "{{matches: [{{headers: [{}]}}]}}",
            list("{name: a, value: b}", count)
        )
    };
    let query = |count| {
        format!(
            "{{matches: [{{queryParams: [{}]}}]}}",
            list("{name: a, value: b}", count)
        )
    };
    let matches = |count| format!("{{matches: [{}]}}", list("{method: GET}", count));
    let backends = |count| format!("{{backendRefs: [{}]}}", list("{name: a, port: 80}", count));
    let parents = |count: usize| {
        let parents: Vec<String> = (0..count)
            .map(|i| format!("{{group: '', kind: Service, name: s{i}}}"))
            .collect();
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r}}, spec: {{parentRefs: [{}]}}}}",
            parents.join(", ")
        )
    };
    for (within, beyond, path) in [
        (
            header(16),
            header(17),
            "spec.rules[0].matches[0].headers: has more than 16",
        ),
        (
            query(16),
            query(17),
            "spec.rules[0].matches[0].queryParams: has more than 16",
        ),
        (
            matches(64),
            matches(65),
            "spec.rules[0].matches: has more than 64",
        ),
        (
            backends(16),
            backends(17),
            "spec.rules[0].backendRefs: has more than 16",
        ),
    ] {
        rule(&within);
        assert_rule_errors(&[(&beyond, path)]);
    }
    assert!(parse(&parents(32)).is_ok());
    assert_errors(&[(&parents(33), "spec.parentRefs: has more than 32")]);
    assert_eq!(
        http(&format!("rules: [{}]", list("{}", 16))).rules.len(),
        16
    );
    let full = list(&matches(64), 2);
    http(&format!("rules: [{full}]"));
    assert_spec_errors(
        "HTTPRoute",
        &[
            (
                &format!("rules: [{}]", list("{}", 17)),
                "spec.rules: has more than 16",
            ),
            (
                &format!("rules: [{full}, {}]", matches(1)),
                "spec.rules: have more than 128 matches",
            ),
        ],
    );
}

#[test]
fn parents_are_services() {
    let parents = |parents: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{parents}], rules: [{{filters: [{{type: ExtensionRef, extensionRef: {{}}}}]}}]}}}}"
        )
    };
    // No Service among them: whatever else the route says is not for the mesh to judge.
    for others in [
        "",
        "{name: gateway}",
        "{group: gateway.networking.k8s.io, kind: Gateway, name: a}",
        "{group: multicluster.x-k8s.io, kind: ServiceImport, name: a}",
    ] {
        let route = route(&parents(others));
        assert!(
            route.parents.is_empty() && route.rules.is_empty(),
            "{others}"
        );
    }
    let spec = |parents: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{parents}]}}}}"
        )
    };
    let route = route(&spec(
        "{name: gateway},
         {group: '', kind: Service, name: web, port: 80},
         {group: '', kind: Service, name: web, sectionName: admin},
         {group: '', kind: Service, name: pay, namespace: bank}",
    ));
    let parents: Vec<_> = route
        .parents
        .iter()
        .map(|parent| {
            (
                parent.service.to_string(),
                parent.port,
                parent.section.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        parents,
        [
            ("shop/web".to_owned(), Some(80), None),
            ("shop/web".to_owned(), None, Some("admin")),
            ("bank/pay".to_owned(), None, None),
        ]
    );
    for (parents, expected) in [
        // What is left out stands for the Gateway API's own group.
        ("{kind: Service, name: web}", "spec.parentRefs[0].group: "),
        (
            "{group: '', kind: Service, name: ''}",
            "spec.parentRefs[0].name: is required",
        ),
        (
            "{group: '', kind: Service, name: web, namespace: A}",
            "spec.parentRefs[0].namespace: \"A\" is not a name",
        ),
        (
            "{group: '', kind: Service, name: web, port: 0}",
            "spec.parentRefs[0].port: \"0\" is not a port",
        ),
        (
            "{group: '', kind: Service, name: web, sectionName: ''}",
            "spec.parentRefs[0].sectionName: is required",
        ),
        (
            "{group: '', kind: Service, name: web}, {group: '', kind: Service, name: web, namespace: shop}",
            "spec.parentRefs[1]: \"shop/web\" is there twice",
        ),
        (
            "{group: '', kind: Service, name: web, port: 80}, {group: '', kind: Service, name: web}",
            "spec.parentRefs[1]: \"shop/web\" is there twice",
        ),
        (
            "{group: '', kind: Service, name: web, ports: 80}",
            "spec.parentRefs[0].ports: unknown field",
        ),
    ] {
        assert_errors(&[(&spec(parents), expected)]);
    }
}

#[test]
fn backends() {
    let rule = rule(
        "{backendRefs: [
            {name: a, port: 80},
            {group: '', kind: Service, name: b, namespace: bank, port: 81, weight: 0},
            {name: c},
            {group: example.org, kind: Bucket, name: d, weight: 1000000}]}",
    );
    let targets: Vec<(String, u32)> = rule
        .backends
        .iter()
        .map(
            |Backend {
                 backend, weight, ..
             }| match backend {
                BackendRef::Service { name, port } => (format!("{name}:{port}"), *weight),
                BackendRef::Invalid(why) => (why.to_string(), *weight),
            },
        )
        .collect();
    assert_eq!(
        targets,
        [
            ("shop/a:80".to_owned(), 1),
            ("bank/b:81".to_owned(), 0),
            ("no port of Service shop/c is named".to_owned(), 1),
            (
                "Bucket of group \"example.org\" is not a kind of backend".to_owned(),
                1_000_000
            ),
        ]
    );
    assert_rule_errors(&[
        (
            "{backendRefs: [{name: a, port: 80}, {name: a, port: 65536}]}",
            "spec.rules[0].backendRefs[1].port: \"65536\" is not a port",
        ),
        (
            "{backendRefs: [{name: a, port: 80, weight: -1}]}",
            "spec.rules[0].backendRefs[0].weight: -1 is not a whole number from 0 to 1000000",
        ),
        (
            "{backendRefs: [{name: a, port: 80, weight: 1000001}]}",
            "spec.rules[0].backendRefs[0].weight: ",
        ),
        (
            "{backendRefs: [{name: '', port: 80}]}",
            "spec.rules[0].backendRefs[0].name: is required",
        ),
        (
            "{backendRefs: [{name: a, namespace: a.b, port: 80}]}",
            "spec.rules[0].backendRefs[0].namespace: ",
        ),
        (
            "{backendRefs: [{port: 80}]}",
            "spec.rules[0].backendRefs[0]: missing field `name`",
        ),
    ]);
}

#[test]
fn timeouts() {
    for (timeouts, request, backend) in [
        ("{}", None, None),
        ("{request: 0s}", None, None),
        ("{request: 0s, backendRequest: 1m}", None, Some(60_000)),
        (
            "{request: 1s500ms, backendRequest: 1s500ms}",
            Some(1500),
            Some(1500),
        ),
    ] {
        let rule = rule(&format!("{{timeouts: {timeouts}}}"));
        assert_eq!(rule.timeouts.request, request.map(Duration::from_millis));
        assert_eq!(
            rule.timeouts.backend_request,
            backend.map(Duration::from_millis)
        );
    }
    assert_rule_errors(&[
        (
            "{timeouts: {request: 1.5s}}",
            "spec.rules[0].timeouts.request: a duration is written as",
        ),
        (
            "{timeouts: {request: 1s, backendRequest: 1001ms}}",
            "spec.rules[0].timeouts.backendRequest: is longer than",
        ),
        (
            "{timeouts: {idle: 1s}}",
            "spec.rules[0].timeouts.idle: unknown field",
        ),
    ]);
}

#[test]
fn rules_have_names() {
    let route = http("rules: [{name: a}, {}, {name: b.c}]");
    let names: Vec<_> = route
        .rules
        .iter()
        .map(|rule| rule.name.as_deref())
        .collect();
    assert_eq!(names, [Some("a"), None, Some("b.c")]);
    assert_spec_errors(
        "HTTPRoute",
        &[
            (
                "rules: [{name: a}, {name: a}]",
                "spec.rules[1].name: \"a\" is there twice",
            ),
            (
                "rules: [{name: A}]",
                "spec.rules[0].name: \"A\" is not a name",
            ),
        ],
    );
}

#[test]
fn sessions() {
    let session = |spec: &str| {
        rule(&format!("{{sessionPersistence: {spec}}}"))
            .session
            .unwrap()
    };
    assert_eq!(
        session(
            "{sessionName: sid, absoluteTimeout: 1h, idleTimeout: 5m, cookieConfig: {lifetimeType: Permanent}}"
        ),
        SessionPersistence {
            by: SessionBy::Cookie { permanent: true },
            name: "sid".into(),
            absolute_timeout: Some(Duration::from_secs(3600)),
            idle_timeout: Some(Duration::from_secs(300)),
        }
    );
    assert_eq!(
        session("{type: Header, sessionName: X-Sid}").by,
        SessionBy::Header
    );
    let own = session("{}");
    assert_eq!(own.by, SessionBy::Cookie { permanent: false });
    // Written down: agents of different versions must agree.
    assert_eq!(&*own.name, "weir-session-053f21150c5cabb1");
    let rules = http("rules: [{sessionPersistence: {}}, {sessionPersistence: {}}]").rules;
    assert_eq!(rules[0].session.as_ref().unwrap().name, own.name);
    assert_ne!(rules[1].session.as_ref().unwrap().name, own.name);
    let long = format!(
        "{{sessionPersistence: {{sessionName: {}}}}}",
        "a".repeat(129)
    );
    assert_rule_errors(&[
        (
            &long,
            "spec.rules[0].sessionPersistence.sessionName: is longer than 128",
        ),
        (
            "{sessionPersistence: {sessionName: 'a b'}}",
            "spec.rules[0].sessionPersistence.sessionName: ",
        ),
        (
            "{sessionPersistence: {type: IP}}",
            "spec.rules[0].sessionPersistence.type: \"IP\" is not one of Cookie, Header",
        ),
        (
            "{sessionPersistence: {absoluteTimeout: long}}",
            "spec.rules[0].sessionPersistence.absoluteTimeout: a duration",
        ),
        (
            "{sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}}",
            "spec.rules[0].sessionPersistence.absoluteTimeout: is required",
        ),
        (
            "{sessionPersistence: {cookieConfig: {lifetimeType: Always}}}",
            "spec.rules[0].sessionPersistence.cookieConfig.lifetimeType: \"Always\"",
        ),
        (
            "{sessionPersistence: {type: Header, cookieConfig: {}}}",
            "spec.rules[0].sessionPersistence.cookieConfig: cannot be together with type Header",
        ),
    ]);
}

#[test]
fn host_names_are_checked_and_do_not_count() {
    assert!(
        http("hostnames: [web.example.org, '*.example.org', web]")
            .hostnames
            .is_empty()
    );
    assert_spec_errors(
        "HTTPRoute",
        &[
            ("hostnames: [a, A.example]", "spec.hostnames[1]: "),
            (
                "hostnames: [10.0.0.1]",
                "spec.hostnames[0]: \"10.0.0.1\" is an address",
            ),
            ("hostnames: ['*']", "spec.hostnames[0]: "),
            ("hostnames: [a.*.example]", "spec.hostnames[0]: "),
        ],
    );
}

#[test]
fn what_is_accepted_and_not_acted_upon() {
    http("useDefaultGateways: All, rules: [{retry: {attempts: 3, codes: [500], anything: 1}}]");
    assert_spec_errors(
        "HTTPRoute",
        &[("rule: []", "spec.rule: unknown field `rule`")],
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let yaml = yaml(
        "HTTPRoute",
        "rules: [{matches: [{path: {value: a}}]}, {timeouts: {request: x}, backendRefs: [{name: a, port: 0}]}]",
    );
    let errors = errors(&yaml);
    let paths: Vec<&str> = errors
        .iter()
        .filter_map(|e| e.split_once(": "))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        paths,
        [
            "spec.rules[0].matches[0].path.value",
            "spec.rules[1].backendRefs[0].port",
            "spec.rules[1].timeouts.request",
        ]
    );
    let rejected = parse(&yaml).expect_err(&yaml);
    assert_eq!(rejected.key.unwrap().name.to_string(), "shop/r");
    assert!(rejected.instead.is_none());
}

#[test]
fn a_spec_is_required() {
    assert_errors(&[(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}}",
        "spec: is required",
    )]);
    let created = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a, creationTimestamp: '2026-01-31T12:00:00Z'}, spec: {parentRefs: [{group: '', kind: Service, name: web}]}, status: {parents: []}}";
    assert!(matches!(parse(created), Ok(Manifest::Object(..))));
    assert!(route(created).created.is_some());
}
