//! `connections`.

use serde::Deserialize;

use super::values::COUNT_MAX;
use crate::{
    model::traffic_policy::ConnectionPolicy,
    sources::parse::{path::Path, route::Reader},
};

/// What this agent has open with the service.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    /// Connections, idle ones included: 1 to 1,000,000. Default 1024.
    max: Option<i64>,
    /// Requests that wait for a connection: 0 to 1,000,000. Default 1024.
    pending: Option<i64>,
    /// Requests under way, waiting ones included: 1 to 1,000,000. Default 1024.
    requests: Option<i64>,
    /// After so many a connection is closed: 1 to 1,000,000. Default: never.
    requests_per_connection: Option<i64>,
}

pub(super) fn parse(reader: &mut Reader<'_>, spec: &Spec, at: Path<'_>) -> ConnectionPolicy {
    let mut limit = |value, min, key| reader.count(value, min..=COUNT_MAX, at.key(key));
    ConnectionPolicy {
        max: limit(spec.max, 1, "max"),
        pending: limit(spec.pending, 0, "pending"),
        requests: limit(spec.requests, 1, "requests"),
        requests_per_connection: limit(spec.requests_per_connection, 1, "requestsPerConnection"),
    }
}
