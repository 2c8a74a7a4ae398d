//! `GRPCRoute`.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    backend::WeightedReference,
    field::{Errors, FieldReason},
    filters::{Filter, Level},
    matches::{GrpcMatch, MATCHES_MAX, ROUTE_MATCHES_MAX},
    path::Path,
    route::{self, Parent, Parts, RULES_MAX, Reader},
    session::SessionSpec,
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    route::{Route, RouteKind, Rule, Timeouts},
    traffic_policy::RetryPolicy,
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
    matches: Option<Vec<GrpcMatch<'a>>>,
    #[serde(borrow)]
    filters: Option<Vec<Filter<'a>>>,
    #[serde(borrow)]
    backend_refs: Option<Vec<WeightedReference<'a>>>,
    #[serde(borrow)]
    session_persistence: Option<SessionSpec<'a>>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Route> {
    let out = (strings, errors);
    route::parse(
        RouteKind::Grpc,
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

fn rules(reader: &mut Reader<'_>, specs: Option<Vec<RuleSpec<'_>>>, at: Path<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (index, spec) in reader.items(specs, RULES_MAX, at).into_iter().enumerate() {
        let rule = rule(reader, spec, &rules, at.index(index));
        rules.push(rule);
    }
    if rules.iter().map(|rule| rule.matches.len()).sum::<usize>() > ROUTE_MATCHES_MAX {
        let max = ROUTE_MATCHES_MAX;
        reader.push(at, FieldReason::TooManyMatches { max });
    }
    rules
}

fn rule(reader: &mut Reader<'_>, spec: RuleSpec<'_>, before: &[Rule], at: Path<'_>) -> Rule {
    let name = reader.rule_name(spec.name, before, at.key("name"));
    let session_of = name
        .clone()
        .unwrap_or_else(|| before.len().to_string().into());
    let at_matches = at.key("matches");
    Rule {
        retries: RetryPolicy::default(),
        matches: reader
            .items(spec.matches, MATCHES_MAX, at_matches)
            .into_iter()
            .enumerate()
            .map(|(index, shape)| reader.grpc_match(shape, at_matches.index(index)))
            .collect(),
        filters: reader.filters(spec.filters, Level::Grpc, at.key("filters")),
        backends: reader.backends(spec.backend_refs, Some(Level::Grpc), at.key("backendRefs")),
        timeouts: Timeouts::default(),
        session: reader.session(
            spec.session_persistence,
            (RouteKind::Grpc, &session_of),
            at.key("sessionPersistence"),
        ),
        name,
    }
}
