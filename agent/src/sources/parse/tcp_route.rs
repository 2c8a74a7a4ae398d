//! `TCPRoute`, and the rules that TLSRoutes have in common with it.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    backend::WeightedReference,
    field::{Errors, FieldReason},
    path::Path,
    route::{self, Parent, Parts, RULES_MAX, Reader},
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    route::{Route, RouteKind, Rule},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    parent_refs: Option<Vec<Parent<'a>>>,
    #[serde(rename = "useDefaultGateways")]
    _use_default_gateways: Option<IgnoredAny>,
    #[serde(borrow)]
    rules: Option<Vec<RuleSpec<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RuleSpec<'a> {
    name: Option<&'a str>,
    #[serde(borrow)]
    backend_refs: Option<Vec<WeightedReference<'a>>>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Route> {
    let out = (strings, errors);
    route::parse(
        RouteKind::Tcp,
        value,
        name,
        out,
        |reader, spec: Spec<'_>, at| Parts {
            parents: reader.parents(spec.parent_refs, at.key("parentRefs")),
            hostnames: Vec::new(),
            rules: rules(reader, spec.rules, at.key("rules")),
        },
    )
}

/// Rules that say no more than where to.
pub(super) fn rules(
    reader: &mut Reader<'_>,
    specs: Option<Vec<RuleSpec<'_>>>,
    at: Path<'_>,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (index, spec) in reader.items(specs, RULES_MAX, at).into_iter().enumerate() {
        let at = at.index(index);
        let rule = Rule {
            name: reader.rule_name(spec.name, &rules, at.key("name")),
            backends: reader.backends(spec.backend_refs, None, at.key("backendRefs")),
            ..Rule::default()
        };
        if rule.backends.is_empty() {
            reader.push(at.key("backendRefs"), FieldReason::Required);
        }
        rules.push(rule);
    }
    if rules.is_empty() {
        reader.push(at, FieldReason::Required);
    }
    rules
}
