//! `healthCheck`.

use std::time::Duration;

use serde::Deserialize;

use super::values::{HOUR, SHORTEST};
use crate::{
    model::traffic_policy::{HealthCheck, HealthCheckBy},
    sources::parse::{field::FieldReason, matches, path::Path, route::Reader},
};

const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const HEALTHY: u32 = 2;
const UNHEALTHY: u32 = 3;
const THRESHOLD_MAX: u32 = 100;
const PATH_BYTES_MAX: usize = 1024;
const SERVICE_BYTES_MAX: usize = 1024;

/// Exactly one of `path`, `grpc` and `tcp`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec<'a> {
    /// What is asked for with GET, with a query perhaps; 2xx is success.
    path: Option<&'a str>,
    /// The service whose health is asked for by gRPC; empty: the server as a whole.
    grpc: Option<&'a str>,
    /// `true`: a connection is enough.
    tcp: Option<bool>,
    /// 100ms to 1h. Default 10s.
    interval: Option<&'a str>,
    /// 1ms up to `interval`. Default 1s, or `interval` where that is shorter.
    timeout: Option<&'a str>,
    /// Successes in a row that make an endpoint healthy: 1 to 100. Default 2.
    healthy: Option<i64>,
    /// Failures in a row that make an endpoint unhealthy: 1 to 100. Default 3.
    unhealthy: Option<i64>,
}

/// `None` only with an error.
pub(super) fn parse(reader: &mut Reader<'_>, spec: &Spec<'_>, at: Path<'_>) -> Option<HealthCheck> {
    let by = by(reader, spec, at);
    let interval = reader.within(spec.interval, INTERVAL_MIN..=HOUR, at.key("interval"));
    let interval = interval.unwrap_or(INTERVAL);
    let timeout = reader.within(spec.timeout, SHORTEST..=HOUR, at.key("timeout"));
    if timeout.is_some_and(|timeout| timeout > interval) {
        let other = "interval";
        reader.push(at.key("timeout"), FieldReason::LongerThan { other });
    }
    let healthy = reader.count(spec.healthy, 1..=THRESHOLD_MAX, at.key("healthy"));
    let unhealthy = reader.count(spec.unhealthy, 1..=THRESHOLD_MAX, at.key("unhealthy"));
    Some(HealthCheck {
        by: by?,
        interval,
        timeout: timeout.unwrap_or(TIMEOUT.min(interval)),
        healthy: healthy.unwrap_or(HEALTHY),
        unhealthy: unhealthy.unwrap_or(UNHEALTHY),
    })
}

fn by(reader: &mut Reader<'_>, spec: &Spec<'_>, at: Path<'_>) -> Option<HealthCheckBy> {
    match (spec.path, spec.grpc, spec.tcp) {
        (Some(path), None, None) => {
            let at = at.key("path");
            reader.text(path, PATH_BYTES_MAX, at);
            let (bare, query) = path.split_once('?').unwrap_or((path, ""));
            // RFC 3986 §3.4: a query is of a path's characters and question marks.
            let is_target = bare.starts_with('/')
                && matches::is_path_text(bare)
                && query.split('?').all(matches::is_path_text);
            if !path.is_empty() && !is_target {
                let value = path.to_owned();
                reader.push(at, FieldReason::PathText { value });
            }
            let path = reader.strings.get(path);
            Some(HealthCheckBy::Http { path })
        }
        (None, Some(service), None) => {
            let at = at.key("grpc");
            if service.len() > SERVICE_BYTES_MAX {
                let bytes_max = SERVICE_BYTES_MAX;
                reader.push(at, FieldReason::TooLong { bytes_max });
            } else if !service.is_empty() && !matches::is_grpc_service(service) {
                let value = service.to_owned();
                reader.push(at, FieldReason::GrpcName { value });
            }
            let service = reader.strings.get(service);
            Some(HealthCheckBy::Grpc { service })
        }
        (None, None, Some(true)) => Some(HealthCheckBy::Tcp),
        (None, None, Some(false)) => {
            reader.not_one_of("false", "true", at.key("tcp"));
            None
        }
        _ => {
            let of = "path, grpc, tcp";
            reader.push(at, FieldReason::ExactlyOne { of });
            None
        }
    }
}
