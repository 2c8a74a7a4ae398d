//! `MeshConfig` of `weir.dev`.

use std::sync::Arc;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    field::{Errors, FieldReason},
    meta::{self, Meta},
    strings::Strings,
};
use crate::model::{
    mesh::{AccessLog, AccessLogFormat, AccessLogMode, MeshConfig},
    spiffe::is_trust_domain,
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
    root_namespace: Option<&'a str>,
    #[serde(borrow)]
    trust_domain_aliases: Option<Vec<&'a str>>,
    #[serde(borrow)]
    access_log: Option<AccessLogSpec<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessLogSpec<'a> {
    #[serde(borrow)]
    mode: Option<Word<'a>>,
    format: Option<&'a str>,
}

/// `off` without quotes is `false` in YAML 1.1, which is what Kubernetes' tools write and read.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected one of off, errors, all")]
enum Word<'a> {
    Bool(bool),
    Text(&'a str),
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
    let log = spec.access_log.unwrap_or_default();
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
        access_log: AccessLog {
            mode: log_mode(log.mode, errors),
            format: log_format(log.format, errors),
        },
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

fn log_mode(mode: Option<Word<'_>>, errors: &mut Errors) -> AccessLogMode {
    let value = match mode {
        None => return AccessLogMode::default(),
        Some(Word::Bool(false) | Word::Text("off")) => return AccessLogMode::Off,
        Some(Word::Text("errors")) => return AccessLogMode::Errors,
        Some(Word::Text("all")) => return AccessLogMode::All,
        Some(Word::Bool(true)) => "true".to_owned(),
        Some(Word::Text(other)) => other.to_owned(),
    };
    let allowed = "off, errors, all";
    errors.push(
        "spec.accessLog.mode",
        FieldReason::NotOneOf { value, allowed },
    );
    AccessLogMode::default()
}

fn log_format(format: Option<&str>, errors: &mut Errors) -> AccessLogFormat {
    match format {
        None => AccessLogFormat::default(),
        Some("json") => AccessLogFormat::Json,
        Some("text") => AccessLogFormat::Text,
        Some(other) => {
            let value = other.to_owned();
            let allowed = "json, text";
            errors.push(
                "spec.accessLog.format",
                FieldReason::NotOneOf { value, allowed },
            );
            AccessLogFormat::default()
        }
    }
}
