//! `PeerAuthentication` of `security.istio.io` and `weir.dev`.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    field::{Errors, FieldReason, join},
    meta::{self, Meta},
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    pod::Labels,
    policy::{MtlsMode, PeerAuthentication},
    resource::{Resource, ResourceKey},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Object<'a> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    spec: Option<Spec<'a>>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    selector: Option<Selector<'a>>,
    #[serde(borrow)]
    mtls: Option<Mtls<'a>>,
    #[serde(borrow)]
    port_level_mtls: Option<BTreeMap<&'a str, Option<Mtls<'a>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selector<'a> {
    #[serde(borrow)]
    match_labels: Option<BTreeMap<&'a str, &'a str>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mtls<'a> {
    mode: Option<&'a str>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<PeerAuthentication> {
    let object: Object<'_> = errors.shape(value)?;
    let spec = object.spec.unwrap_or_default();
    let selector = spec.selector.and_then(|selector| selector.match_labels);
    let selector = selector
        .filter(|labels| !labels.is_empty())
        .map(|labels| strings.labels(&labels));
    let mut ports = BTreeMap::new();
    for (key, mtls) in spec.port_level_mtls.into_iter().flatten() {
        let path = join("spec.portLevelMtls", key);
        let mode = mode(mtls, &path, errors);
        match key.parse::<u16>() {
            Ok(port) if port != 0 => drop(ports.insert(port, mode)),
            _ => errors.push(
                path,
                FieldReason::Port {
                    value: key.to_owned(),
                },
            ),
        }
    }
    // Istio refuses this too: without a selector the ports of which pods would be meant?
    if selector.is_none() && !ports.is_empty() {
        errors.push("spec.portLevelMtls", FieldReason::NeedsSelector);
    }
    Some(PeerAuthentication {
        created: object.metadata.created(errors),
        selector,
        mode: mode(spec.mtls, "spec.mtls", errors),
        ports,
        name,
    })
}

fn mode(mtls: Option<Mtls<'_>>, path: &str, errors: &mut Errors) -> Option<MtlsMode> {
    match mtls.and_then(|mtls| mtls.mode)? {
        "UNSET" => None,
        "STRICT" => Some(MtlsMode::Strict),
        "PERMISSIVE" => Some(MtlsMode::Permissive),
        "DISABLE" => Some(MtlsMode::Disable),
        value => {
            let reason = FieldReason::NotOneOf {
                value: value.to_owned(),
                allowed: "STRICT, PERMISSIVE, DISABLE, UNSET",
            };
            errors.push(join(path, "mode"), reason);
            None
        }
    }
}

/// What counts in place of a policy that cannot be read: STRICT for all that it selects, and for
/// its whole namespace where its selector cannot be read either.
pub(super) fn closed(value: &Value, key: Option<&ResourceKey>, strings: &mut Strings) -> Resource {
    let name = match key {
        Some(key) => key.name.clone(),
        None => ObjectName::new(meta::namespace(value, strings), ""),
    };
    let created = value
        .get("metadata")
        .and_then(|meta| Meta::deserialize(meta).ok());
    let policy = PeerAuthentication {
        name,
        created: created.and_then(|meta| meta.created(&mut Errors::default())),
        selector: selector(value, strings),
        mode: Some(MtlsMode::Strict),
        ports: BTreeMap::new(),
    };
    Resource::PeerAuthentication(policy.into())
}

fn selector(value: &Value, strings: &mut Strings) -> Option<Labels> {
    let labels = value.get("spec")?.get("selector")?.get("matchLabels")?;
    let labels: BTreeMap<&str, &str> = BTreeMap::deserialize(labels).ok()?;
    (!labels.is_empty()).then(|| strings.labels(&labels))
}
