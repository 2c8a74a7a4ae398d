//! `ReferenceGrant`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{
    field::{Errors, FieldReason},
    path::Path,
    route::{self, GATEWAY, Reader},
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    route::{ReferenceGrant, RouteKind},
};

const ITEMS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 253;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec<'a> {
    #[serde(borrow)]
    from: Option<Vec<From<'a>>>,
    #[serde(borrow)]
    to: Option<Vec<To<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To<'a> {
    group: &'a str,
    kind: &'a str,
    name: Option<&'a str>,
}

/// What it lets others than routes do, and to others than Services, is left out.
pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<ReferenceGrant> {
    let (_, spec): (_, Spec<'_>) = route::object(value, errors)?;
    let mut reader = Reader {
        name: &name,
        strings,
        errors,
    };
    let at = Path::root("spec");
    let from = from(&mut reader, spec.from, at.key("from"));
    let to = to(&mut reader, spec.to, at.key("to"));
    Some(ReferenceGrant { name, from, to })
}

fn from(
    reader: &mut Reader<'_>,
    items: Option<Vec<From<'_>>>,
    at: Path<'_>,
) -> Vec<(RouteKind, Arc<str>)> {
    let items = reader.items(items, ITEMS_MAX, at);
    if items.is_empty() {
        reader.push(at, FieldReason::Required);
    }
    let mut from = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = at.index(index);
        let namespace = reader.namespace(Some(item.namespace), at.key("namespace"));
        let kind = RouteKind::ALL
            .into_iter()
            .find(|kind| item.group == GATEWAY && item.kind == kind.as_str());
        from.extend(kind.map(|kind| (kind, namespace)));
    }
    from
}

fn to(reader: &mut Reader<'_>, items: Option<Vec<To<'_>>>, at: Path<'_>) -> Vec<Option<Arc<str>>> {
    let items = reader.items(items, ITEMS_MAX, at);
    if items.is_empty() {
        reader.push(at, FieldReason::Required);
    }
    let mut to = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = at.index(index);
        if let Some(name) = item.name {
            reader.text(name, NAME_BYTES_MAX, at.key("name"));
        }
        if (item.group, item.kind) == ("", "Service") {
            to.push(item.name.map(|name| reader.strings.get(name)));
        }
    }
    to
}
