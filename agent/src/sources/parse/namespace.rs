//! `Namespace`.

use serde::Deserialize;
use serde_json::Value;

use super::{field::Errors, meta::Meta};
use crate::model::{names::ObjectName, pod::Namespace};

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

pub(super) fn parse(value: &Value, name: ObjectName, errors: &mut Errors) -> Option<Namespace> {
    let object: Object<'_> = errors.shape(value)?;
    Some(Namespace {
        name: name.name,
        mesh: object.metadata.mesh_label(errors),
    })
}
