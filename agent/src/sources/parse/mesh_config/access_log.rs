//! `spec.accessLog`.

use serde::Deserialize;

use super::{per_namespace, share};
use crate::{
    model::mesh::{
        AccessLog, AccessLogField, AccessLogFields, AccessLogFormat, AccessLogMode, PerNamespace,
    },
    sources::parse::{
        field::{Errors, FieldReason},
        strings::Strings,
    },
};

const PATH: &str = "spec.accessLog";
const MODES: &str = "off, errors, sampled, all";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    mode: Option<Word<'a>>,
    sampling: Option<f64>,
    format: Option<&'a str>,
    #[serde(borrow)]
    fields: Option<Vec<&'a str>>,
    #[serde(borrow)]
    namespaces: Option<Vec<Override<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Override<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    #[serde(borrow)]
    mode: Option<Word<'a>>,
    sampling: Option<f64>,
}

/// `off` without quotes is `false` in YAML 1.1, which is what Kubernetes' tools write and read.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected one of off, errors, sampled, all")]
enum Word<'a> {
    Bool(bool),
    Text(&'a str),
}

pub(super) fn parse(spec: Spec<'_>, strings: &mut Strings, errors: &mut Errors) -> AccessLog {
    AccessLog {
        mode: PerNamespace {
            default: mode(spec.mode, spec.sampling, PATH, errors),
            namespaces: per_namespace(
                &format!("{PATH}.namespaces"),
                &spec.namespaces.unwrap_or_default(),
                |spec| &spec.names,
                |spec, path, errors| mode(spec.mode, spec.sampling, path, errors),
                strings,
                errors,
            ),
        },
        format: format_of(spec.format, errors),
        fields: fields(spec.fields.as_deref(), errors),
    }
}

fn mode(
    mode: Option<Word<'_>>,
    sampling: Option<f64>,
    path: &str,
    errors: &mut Errors,
) -> AccessLogMode {
    // A percentage out of range is told whether it counts or not.
    let share = share(sampling, format!("{path}.sampling"), errors);
    let value = match mode {
        None => return AccessLogMode::default(),
        Some(Word::Bool(false) | Word::Text("off")) => return AccessLogMode::Off,
        Some(Word::Text("errors")) => return AccessLogMode::Errors,
        Some(Word::Text("sampled")) => return AccessLogMode::Sampled(share),
        Some(Word::Text("all")) => return AccessLogMode::All,
        Some(Word::Bool(true)) => "true".to_owned(),
        Some(Word::Text(other)) => other.to_owned(),
    };
    let allowed = MODES;
    errors.push(
        format!("{path}.mode"),
        FieldReason::NotOneOf { value, allowed },
    );
    AccessLogMode::default()
}

fn format_of(format: Option<&str>, errors: &mut Errors) -> AccessLogFormat {
    match format {
        None => AccessLogFormat::default(),
        Some("json") => AccessLogFormat::Json,
        Some("text") => AccessLogFormat::Text,
        Some(other) => {
            let value = other.to_owned();
            let allowed = "json, text";
            errors.push(
                format!("{PATH}.format"),
                FieldReason::NotOneOf { value, allowed },
            );
            AccessLogFormat::default()
        }
    }
}

/// No list, or an empty one, is every field.
fn fields(names: Option<&[&str]>, errors: &mut Errors) -> AccessLogFields {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return AccessLogFields::default();
    }
    let known = names.iter().enumerate().filter_map(|(index, name)| {
        let field = AccessLogField::of_name(name);
        if field.is_none() {
            let value = (*name).to_owned();
            errors.push(
                format!("{PATH}.fields[{index}]"),
                FieldReason::NotAField { value },
            );
        }
        field
    });
    known.collect()
}
