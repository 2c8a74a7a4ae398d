//! `metadata`, which all kinds share.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    field::{Errors, FieldError, FieldReason, join},
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    pod::{LABEL_MESH, MeshLabel},
};

/// Where an object without a namespace lives, as kubectl has it.
const DEFAULT_NAMESPACE: &str = "default";
/// RFC 1123: a DNS label, and a name of several.
const LABEL_BYTES_MAX: usize = 63;
const SUBDOMAIN_BYTES_MAX: usize = 253;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta<'a> {
    pub(super) uid: Option<&'a str>,
    #[serde(borrow)]
    labels: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(borrow)]
    annotations: Option<BTreeMap<&'a str, &'a str>>,
    creation_timestamp: Option<&'a str>,
    #[serde(borrow)]
    owner_references: Option<Vec<OwnerReference<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OwnerReference<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    controller: Option<bool>,
}

impl<'a> Meta<'a> {
    pub(super) fn labels(&self) -> &BTreeMap<&'a str, &'a str> {
        static NONE: BTreeMap<&str, &str> = BTreeMap::new();
        self.labels.as_ref().unwrap_or(&NONE)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations.as_ref()?.get(key).copied()
    }

    pub(super) fn controller(&self) -> Option<&OwnerReference<'a>> {
        self.owner_references
            .as_ref()?
            .iter()
            .find(|owner| owner.controller == Some(true))
    }

    pub(super) fn created(&self, errors: &mut Errors) -> Option<SystemTime> {
        let value = self.creation_timestamp?;
        match OffsetDateTime::parse(value, &Rfc3339) {
            Ok(time) => Some(time.into()),
            Err(_) => {
                let reason = FieldReason::Time {
                    value: value.to_owned(),
                };
                errors.push("metadata.creationTimestamp", reason);
                None
            }
        }
    }

    pub(super) fn mesh_label(&self, errors: &mut Errors) -> Option<MeshLabel> {
        match *self.labels().get(LABEL_MESH)? {
            "enabled" => Some(MeshLabel::Enabled),
            "disabled" => Some(MeshLabel::Disabled),
            value => {
                let reason = FieldReason::NotOneOf {
                    value: value.to_owned(),
                    allowed: "enabled, disabled",
                };
                errors.push(join("metadata.labels", LABEL_MESH), reason);
                None
            }
        }
    }
}

/// Namespace and name, read apart from the rest so that also an invalid object can be named.
pub(super) fn object_name(
    value: &Value,
    namespaced: bool,
    strings: &mut Strings,
) -> Result<ObjectName, FieldError> {
    let name = text(value, "name")?.unwrap_or_default();
    subdomain(name).map_err(|reason| at("metadata.name", reason))?;
    let namespace = match namespaced {
        true => text(value, "namespace")?.unwrap_or(DEFAULT_NAMESPACE),
        false => "",
    };
    if namespaced {
        label(namespace).map_err(|reason| at("metadata.namespace", reason))?;
    }
    Ok(strings.object_name(namespace, name))
}

/// The namespace of an object whose name is no name.
pub(super) fn namespace(value: &Value, strings: &mut Strings) -> Arc<str> {
    let namespace = text(value, "namespace")
        .ok()
        .flatten()
        .filter(|namespace| label(namespace).is_ok());
    strings.get(namespace.unwrap_or(DEFAULT_NAMESPACE))
}

/// RFC 1123 label: namespaces, services.
pub(super) fn label(name: &str) -> Result<(), FieldReason> {
    dns(name, false, LABEL_BYTES_MAX)
}

/// RFC 1123 subdomain: pods, service accounts and most other names.
pub(super) fn subdomain(name: &str) -> Result<(), FieldReason> {
    dns(name, true, SUBDOMAIN_BYTES_MAX)
}

fn dns(name: &str, dots: bool, bytes_max: usize) -> Result<(), FieldReason> {
    if name.is_empty() {
        return Err(FieldReason::Required);
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let shaped = if dots {
        name.split('.').all(is_label)
    } else {
        is_label(name)
    };
    if shaped && name.len() <= bytes_max {
        return Ok(());
    }
    Err(FieldReason::Name {
        value: name.to_owned(),
        dots,
        bytes_max,
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<Option<&'a str>, FieldError> {
    match value.get("metadata").and_then(|meta| meta.get(field)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let reason = FieldReason::Shape("expected a string; put it in quotes".to_owned());
            Err(at(join("metadata", field), reason))
        }
    }
}

fn at(path: impl Into<String>, reason: FieldReason) -> FieldError {
    FieldError {
        path: path.into(),
        reason,
    }
}
