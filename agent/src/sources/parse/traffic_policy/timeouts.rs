//! `timeouts`.

use serde::Deserialize;

use super::values::{SHORTEST, WEEK};
use crate::{
    model::traffic_policy::TimeoutPolicy,
    sources::parse::{path::Path, route::Reader},
};

/// Each 1ms to 168h, or 0s for no limit.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec<'a> {
    /// Of a connection to an endpoint. Default 1s.
    pub(super) connect: Option<&'a str>,
    /// From a request's arrival to the end of its answer, all tries together. Default 0s.
    request: Option<&'a str>,
    /// Of a connection or a request on which no byte passes. Default 1h.
    pub(super) idle: Option<&'a str>,
}

pub(super) fn parse(reader: &mut Reader<'_>, spec: &Spec<'_>, at: Path<'_>) -> TimeoutPolicy {
    let mut limit = |text, key| reader.zero_or_within(text, SHORTEST..=WEEK, at.key(key));
    TimeoutPolicy {
        connect: limit(spec.connect, "connect"),
        request: limit(spec.request, "request"),
        idle: limit(spec.idle, "idle"),
    }
}
