//! `MeshConfig` of `weir.dev`.

mod access_log;
mod tracing;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    field::{Errors, FieldReason},
    meta::{self, Meta},
    strings::Strings,
};
use crate::model::{
    mesh::{MeshConfig, Share},
    spiffe::is_trust_domain,
};

/// `sampling` where it is not said, in percent; Istio's default.
const SAMPLING_PERCENT: f64 = 1.0;

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
    root_namespace: Option<&'a str>,
    #[serde(borrow)]
    trust_domain_aliases: Option<Vec<&'a str>>,
    #[serde(borrow)]
    access_log: Option<access_log::Spec<'a>>,
    #[serde(borrow)]
    tracing: Option<tracing::Spec<'a>>,
}

pub(super) fn parse(
    value: &Value,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<MeshConfig> {
    let object: Object<'_> = errors.shape(value)?;
    let spec = object.spec.unwrap_or_default();
    let defaults = MeshConfig::default();
    if let Some(Err(reason)) = spec.root_namespace.map(meta::label) {
        errors.push("spec.rootNamespace", reason);
    }
    Some(MeshConfig {
        created: object.metadata.created(errors),
        root_namespace: spec
            .root_namespace
            .map_or(defaults.root_namespace, |name| strings.get(name)),
        trust_domain_aliases: aliases(
            spec.trust_domain_aliases.as_deref().unwrap_or_default(),
            strings,
            errors,
        ),
        access_log: access_log::parse(spec.access_log.unwrap_or_default(), strings, errors),
        tracing: spec
            .tracing
            .and_then(|spec| tracing::parse(&spec, strings, errors)),
    })
}

/// The namespaces at `path` (`spec.tracing.namespaces`), each with its own setting. A namespace may
/// have one of them only.
fn per_namespace<'a, S, T: Clone>(
    path: &str,
    overrides: &[S],
    names: impl Fn(&S) -> &[&'a str],
    mut setting: impl FnMut(&S, &str, &mut Errors) -> T,
    strings: &mut Strings,
    errors: &mut Errors,
) -> BTreeMap<Arc<str>, T> {
    let mut all = BTreeMap::new();
    for (index, spec) in overrides.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let own = setting(spec, &at, errors);
        if names(spec).is_empty() {
            errors.push(format!("{at}.names"), FieldReason::Required);
        }
        for (index, name) in names(spec).iter().enumerate() {
            let at = format!("{at}.names[{index}]");
            if let Err(reason) = meta::label(name) {
                errors.push(at, reason);
            } else if all.insert(strings.get(name), own.clone()).is_some() {
                let value = (*name).to_owned();
                errors.push(at, FieldReason::Twice { value });
            }
        }
    }
    all
}

fn share(percent: Option<f64>, path: String, errors: &mut Errors) -> Share {
    let percent = percent.unwrap_or(SAMPLING_PERCENT);
    Share::of_percent(percent).unwrap_or_else(|| {
        let value = percent.to_string();
        errors.push(path, FieldReason::Percent { value });
        Share::default()
    })
}

fn aliases(aliases: &[&str], strings: &mut Strings, errors: &mut Errors) -> Vec<Arc<str>> {
    for (index, alias) in aliases
        .iter()
        .enumerate()
        .filter(|(_, alias)| !is_trust_domain(alias))
    {
        let reason = FieldReason::TrustDomain {
            value: (*alias).to_owned(),
        };
        errors.push(format!("spec.trustDomainAliases[{index}]"), reason);
    }
    aliases.iter().map(|alias| strings.get(alias)).collect()
}
