//! `Node`.

use serde::Deserialize;
use serde_json::Value;

use super::{field::Errors, meta::Meta, strings::Strings};
use crate::model::{names::ObjectName, node::Node};

const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Node> {
    let object: Object<'_> = errors.shape(value)?;
    let zone = object.metadata.labels().get(LABEL_ZONE).copied();
    Some(Node {
        name: name.name,
        zone: zone
            .filter(|zone| !zone.is_empty())
            .map(|zone| strings.get(zone)),
    })
}
