//! `HTTPRoute`.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    backend::WeightedReference,
    field::{Errors, FieldReason},
    filters::{Filter, Level},
    matches::{HttpMatch, MATCHES_MAX, ROUTE_MATCHES_MAX},
    path::Path,
    route::{self, Parent, Parts, RULES_MAX, Reader},
    session::SessionSpec,
    strings::Strings,
    traffic_policy::RouteRetry,
};
use crate::model::{
    names::ObjectName,
    route::{Filters, PathMatch, PathModifier, RequestMatch, Route, RouteKind, Rule, Timeouts},
};

const HOSTNAMES_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    parent_refs: Option<Vec<Parent<'a>>>,
    #[serde(rename = "useDefaultGateways")]
    _use_default_gateways: Option<IgnoredAny>,
    #[serde(borrow)]
    hostnames: Option<Vec<&'a str>>,
    #[serde(borrow)]
    rules: Option<Vec<RuleSpec<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleSpec<'a> {
    name: Option<&'a str>,
    #[serde(borrow)]
    matches: Option<Vec<HttpMatch<'a>>>,
    #[serde(borrow)]
    filters: Option<Vec<Filter<'a>>>,
    #[serde(borrow)]
    backend_refs: Option<Vec<WeightedReference<'a>>>,
    #[serde(borrow)]
    timeouts: Option<TimeoutSpec<'a>>,
    #[serde(borrow)]
    retry: Option<RouteRetry<'a>>,
    #[serde(borrow)]
    session_persistence: Option<SessionSpec<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TimeoutSpec<'a> {
    request: Option<&'a str>,
    backend_request: Option<&'a str>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Route> {
    let out = (strings, errors);
    route::parse(
        RouteKind::Http,
        value,
        name,
        out,
        |reader, spec: Spec<'_>, at| {
            // Checked only: in a mesh the address that is dialled decides (GAMMA).
            reader.hostnames(spec.hostnames, HOSTNAMES_MAX, at.key("hostnames"));
            Parts {
                parents: reader.parents(spec.parent_refs, at.key("parentRefs")),
                hostnames: Vec::new(),
                rules: rules(reader, spec.rules, at.key("rules")),
            }
        },
    )
}

/// Without any, one that matches everything and leads nowhere, as the CRD has it.
fn rules(reader: &mut Reader<'_>, specs: Option<Vec<RuleSpec<'_>>>, at: Path<'_>) -> Vec<Rule> {
    let Some(specs) = specs else {
        return vec![Rule::default()];
    };
    if specs.is_empty() {
        reader.push(at, FieldReason::Required);
    }
    let mut rules = Vec::with_capacity(specs.len());
    for (index, spec) in reader
        .items(Some(specs), RULES_MAX, at)
        .into_iter()
        .enumerate()
    {
        let rule = rule(reader, spec, &rules, at.index(index));
        rules.push(rule);
    }
    if rules
        .iter()
        .map(|rule: &Rule| rule.matches.len())
        .sum::<usize>()
        > ROUTE_MATCHES_MAX
    {
        let max = ROUTE_MATCHES_MAX;
        reader.push(at, FieldReason::TooManyMatches { max });
    }
    rules
}

fn rule(reader: &mut Reader<'_>, spec: RuleSpec<'_>, before: &[Rule], at: Path<'_>) -> Rule {
    let name = reader.rule_name(spec.name, before, at.key("name"));
    let at_matches = at.key("matches");
    let matches: Vec<RequestMatch> = reader
        .items(spec.matches, MATCHES_MAX, at_matches)
        .into_iter()
        .enumerate()
        .map(|(index, shape)| reader.http_match(shape, at_matches.index(index)))
        .collect();
    let session_of = name
        .clone()
        .unwrap_or_else(|| before.len().to_string().into());
    let rule = Rule {
        retries: reader.route_retry(spec.retry, at.key("retry")),
        filters: reader.filters(spec.filters, Level::Http, at.key("filters")),
        backends: reader.backends(spec.backend_refs, Some(Level::Http), at.key("backendRefs")),
        timeouts: timeouts(
            reader,
            &spec.timeouts.unwrap_or_default(),
            at.key("timeouts"),
        ),
        session: reader.session(
            spec.session_persistence,
            (RouteKind::Http, &session_of),
            at.key("sessionPersistence"),
        ),
        name,
        matches,
    };
    if rule.filters.redirect.is_some() && !rule.backends.is_empty() {
        let with = "a RequestRedirect".to_owned();
        reader.push(at.key("backendRefs"), FieldReason::NotTogether { with });
    }
    prefix_is_matched(reader, &rule, at);
    rule
}

fn timeouts(reader: &mut Reader<'_>, spec: &TimeoutSpec<'_>, at: Path<'_>) -> Timeouts {
    let timeouts = Timeouts {
        request: reader.limit(spec.request, at.key("request")),
        backend_request: reader.limit(spec.backend_request, at.key("backendRequest")),
    };
    if let (Some(request), Some(backend)) = (timeouts.request, timeouts.backend_request)
        && backend > request
        && !request.is_zero()
    {
        reader.push(at.key("backendRequest"), FieldReason::LongerThanRequest);
    }
    timeouts
}

/// `replacePrefixMatch` needs the one prefix that it replaces. A match without a path is one of
/// the prefix `/`.
fn prefix_is_matched(reader: &mut Reader<'_>, rule: &Rule, at: Path<'_>) {
    let is_prefix =
        |request: &RequestMatch| matches!(request.path, None | Some(PathMatch::Prefix(_)));
    if rule.matches.len() <= 1 && rule.matches.iter().all(is_prefix) {
        return;
    }
    let of_backends = rule.backends.iter().map(|backend| &backend.filters);
    if std::iter::once(&rule.filters)
        .chain(of_backends)
        .any(replaces_prefix)
    {
        reader.push(at.key("matches"), FieldReason::NeedsPrefixMatch);
    }
}

fn replaces_prefix(filters: &Filters) -> bool {
    let redirect = filters
        .redirect
        .as_ref()
        .and_then(|redirect| redirect.path.as_ref());
    let rewrite = filters
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.path.as_ref());
    [redirect, rewrite]
        .into_iter()
        .flatten()
        .any(|path| matches!(path, PathModifier::Prefix(_)))
}
