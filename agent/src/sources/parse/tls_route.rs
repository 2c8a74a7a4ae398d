//! `TLSRoute`.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    field::{Errors, FieldReason},
    route::{self, Parent, Parts},
    strings::Strings,
    tcp_route::{self, RuleSpec},
};
use crate::model::{
    names::ObjectName,
    route::{Route, RouteKind},
};

const HOSTNAMES_MAX: usize = 1024;
/// Here alone a route may leave its host names out, which matches all of them.
const WITHOUT_HOSTNAMES: &str = "gateway.networking.k8s.io/v1alpha2";

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

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Route> {
    let version = value.get("apiVersion").and_then(Value::as_str);
    let out = (strings, errors);
    route::parse(
        RouteKind::Tls,
        value,
        name,
        out,
        |reader, spec: Spec<'_>, at| {
            let hostnames = reader.hostnames(spec.hostnames, HOSTNAMES_MAX, at.key("hostnames"));
            if hostnames.is_empty() && version != Some(WITHOUT_HOSTNAMES) {
                reader.push(at.key("hostnames"), FieldReason::Required);
            }
            Parts {
                parents: reader.parents(spec.parent_refs, at.key("parentRefs")),
                hostnames,
                rules: tcp_route::rules(reader, spec.rules, at.key("rules")),
            }
        },
    )
}
