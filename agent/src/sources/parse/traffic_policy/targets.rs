//! `targetRefs`.

use serde::Deserialize;

use crate::{
    model::{route::RouteKind, traffic_policy::PolicyTarget},
    sources::parse::{
        field::FieldReason,
        meta,
        path::Path,
        route::{GATEWAY, Reader},
    },
};

const TARGETS_MAX: usize = 16;

/// A Service (of the group "") or a route's rules (of the Gateway API's), in the policy's own
/// namespace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    group: Option<&'a str>,
    /// Service, HTTPRoute or GRPCRoute.
    kind: Option<&'a str>,
    name: Option<&'a str>,
    /// The name of one rule of a route. Default: every rule.
    section_name: Option<&'a str>,
    /// Refused, with a better reason than serde's.
    namespace: Option<&'a str>,
}

/// One to 16 of them, of which none is there twice.
pub(super) fn parse(
    reader: &mut Reader<'_>,
    specs: Option<Vec<Spec<'_>>>,
    at: Path<'_>,
) -> Vec<PolicyTarget> {
    let specs = reader.items(specs, TARGETS_MAX, at);
    if specs.is_empty() {
        reader.push(at, FieldReason::Required);
    }
    let mut targets = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = at.index(index);
        let Some(target) = target(reader, spec, at) else {
            continue;
        };
        if targets.contains(&target) {
            reader.twice(spec.name.unwrap_or_default(), at);
        }
        targets.push(target);
    }
    targets
}

/// `None` only with an error.
fn target(reader: &mut Reader<'_>, spec: &Spec<'_>, at: Path<'_>) -> Option<PolicyTarget> {
    if spec.namespace.is_some() {
        reader.push(at.key("namespace"), FieldReason::OwnNamespace);
    }
    for (field, key) in [
        (spec.group, "group"),
        (spec.kind, "kind"),
        (spec.name, "name"),
    ] {
        if field.is_none() {
            reader.push(at.key(key), FieldReason::Required);
        }
    }
    let (group, kind, name) = (spec.group?, spec.kind?, spec.name?);
    let of_service = "\"\" (the group of Services)";
    let (wanted, shown, route) = match kind {
        "Service" => ("", of_service, None),
        "HTTPRoute" => (GATEWAY, GATEWAY, Some(RouteKind::Http)),
        "GRPCRoute" => (GATEWAY, GATEWAY, Some(RouteKind::Grpc)),
        other => {
            reader.not_one_of(other, "Service, HTTPRoute, GRPCRoute", at.key("kind"));
            return None;
        }
    };
    if group != wanted {
        reader.not_one_of(group, shown, at.key("group"));
    }
    let shaped = match route {
        None => meta::label(name),
        Some(_) => meta::subdomain(name),
    };
    if let Err(reason) = shaped {
        reader.push(at.key("name"), reason);
    }
    let at_section = at.key("sectionName");
    let name = reader.strings.get(name);
    let Some(kind) = route else {
        if spec.section_name.is_some() {
            let with = "kind Service".to_owned();
            reader.push(at_section, FieldReason::NotTogether { with });
        }
        return Some(PolicyTarget::Service(name));
    };
    if let Some(Err(reason)) = spec.section_name.map(meta::subdomain) {
        reader.push(at_section, reason);
    }
    Some(PolicyTarget::Rule {
        kind,
        route: name,
        section: spec.section_name.map(|name| reader.strings.get(name)),
    })
}
