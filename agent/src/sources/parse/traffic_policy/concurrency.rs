//! `concurrency`.

use serde::{Deserialize, de::IgnoredAny};

use super::values::COUNT_MAX;
use crate::{
    model::traffic_policy::Concurrency,
    sources::parse::{field::FieldReason, path::Path, route::Reader},
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// Requests that one pod works on at a time: 1 to 1,000,000. Required.
    limit: Option<i64>,
    /// Requests that wait for their turn: 0 to 1,000,000. Default 0: what is over the limit is
    /// shed at once.
    queue: Option<i64>,
    /// A limit that is found by latency. This version has none.
    adaptive: Option<IgnoredAny>,
}

/// `None` only with an error.
pub(super) fn parse(reader: &mut Reader<'_>, spec: &Spec, at: Path<'_>) -> Option<Concurrency> {
    if spec.adaptive.is_some() {
        reader.push(at.key("adaptive"), FieldReason::NotYet);
        return None;
    }
    let at_limit = at.key("limit");
    let limit = reader.count(spec.limit, 1..=COUNT_MAX, at_limit);
    let limit = reader.required((spec.limit, limit), at_limit);
    let queue = reader.count(spec.queue, 0..=COUNT_MAX, at.key("queue"));
    Some(Concurrency {
        limit: limit?,
        queue: queue.unwrap_or_default(),
    })
}
