//! Rules and requests for the tests of this module.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::request::RequestView;
use crate::model::{
    names::ObjectName,
    route::{
        Backend, BackendRef, Filters, RequestMatch, ResolvedRule, Route, RouteEntry, RouteKind,
        Rule, TextMatch,
    },
};

pub(super) fn route(name: ObjectName, rules: Vec<Rule>) -> Route {
    Route {
        kind: RouteKind::Http,
        name,
        created: None,
        parents: Vec::new(),
        hostnames: Vec::new(),
        rules,
    }
}

pub(super) fn resolved(route: &Arc<Route>, index: usize) -> Arc<ResolvedRule> {
    let rule = &route.rules[index];
    Arc::new(ResolvedRule {
        policy: None,
        index,
        refused: vec![None; rule.backends.len()],
        mirrors_refused: Vec::new(),
        weights: rule.backends.iter().map(|b| u64::from(b.weight)).sum(),
        route_label: format!("{}/{}", route.kind.as_str(), route.name).into(),
        rule_label: index.to_string().into(),
        route: Arc::clone(route),
    })
}

/// A rule that sends to services of the namespace `shop`, each with its weight.
pub(super) fn weighted(backends: &[(&str, u32)]) -> ResolvedRule {
    let backends = backends.iter().map(|(name, weight)| Backend {
        backend: BackendRef::Service {
            name: ObjectName::new("shop", *name),
            port: 80,
        },
        weight: *weight,
        filters: Filters::default(),
    });
    let rule = Rule {
        backends: backends.collect(),
        ..Rule::default()
    };
    let route = Arc::new(route(ObjectName::new("shop", "web"), vec![rule]));
    Arc::into_inner(resolved(&route, 0)).unwrap()
}

/// The entry of a rule with that one match.
pub(super) fn entry(wanted: RequestMatch) -> RouteEntry {
    let rule = Rule {
        matches: vec![wanted],
        ..Rule::default()
    };
    let route = Arc::new(route(ObjectName::new("shop", "web"), vec![rule]));
    RouteEntry {
        rule: resolved(&route, 0),
        matched: Some(0),
    }
}

pub(super) fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.into())
}

pub(super) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

pub(super) fn request<'a>(
    method: &'a Method,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
) -> RequestView<'a> {
    RequestView {
        path,
        query,
        method,
        headers,
        grpc: false,
    }
}
