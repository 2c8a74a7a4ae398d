//! `fault`.

use http::StatusCode;
use serde::Deserialize;

use super::{
    grpc_status,
    values::{HOUR, SHORTEST},
};
use crate::{
    model::traffic_policy::{AbortFault, AbortWith, DelayFault, Fault},
    sources::parse::{field::FieldReason, matches::Condition, path::Path, route::Reader},
};

const GRPC_STATUSES: &str = "cancelled, unknown, invalid-argument, deadline-exceeded, not-found, \
                             already-exists, permission-denied, resource-exhausted, \
                             failed-precondition, aborted, out-of-range, unimplemented, internal, \
                             unavailable, data-loss, unauthenticated";
/// What ends an exchange; 1xx do not.
const STATUSES: std::ops::RangeInclusive<u32> = 200..=599;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    delay: Option<Delay<'a>>,
    #[serde(borrow)]
    abort: Option<Abort<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay<'a> {
    /// Of the requests: 0 to 100. Required.
    percent: Option<i64>,
    /// 1ms to 1h. Required.
    duration: Option<&'a str>,
    /// Of the requests that have them all, at most 16. Default: of every request.
    #[serde(borrow)]
    headers: Option<Vec<Condition<'a>>>,
}

/// Exactly one of `status` and `grpcStatus`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Abort<'a> {
    /// As of a delay.
    percent: Option<i64>,
    /// 200 to 599.
    status: Option<i64>,
    /// 1 to 16, or the name of a gRPC status, such as unavailable.
    #[serde(borrow)]
    grpc_status: Option<GrpcStatus<'a>>,
    /// As of a delay.
    #[serde(borrow)]
    headers: Option<Vec<Condition<'a>>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name or the number of a gRPC status"
)]
enum GrpcStatus<'a> {
    Number(i64),
    Name(&'a str),
}

pub(super) fn parse(reader: &mut Reader<'_>, spec: Spec<'_>, at: Path<'_>) -> Fault {
    Fault {
        delay: spec
            .delay
            .and_then(|spec| delay(reader, spec, at.key("delay"))),
        abort: spec
            .abort
            .and_then(|spec| abort(reader, spec, at.key("abort"))),
    }
}

fn delay(reader: &mut Reader<'_>, spec: Delay<'_>, at: Path<'_>) -> Option<DelayFault> {
    let percent = percent(reader, spec.percent, at.key("percent"));
    let at_duration = at.key("duration");
    let duration = reader.within(spec.duration, SHORTEST..=HOUR, at_duration);
    let duration = reader.required((spec.duration, duration), at_duration);
    let headers = reader.header_matches(spec.headers, at.key("headers"));
    Some(DelayFault {
        percent: percent?,
        duration: duration?,
        headers,
    })
}

fn abort(reader: &mut Reader<'_>, spec: Abort<'_>, at: Path<'_>) -> Option<AbortFault> {
    let percent = percent(reader, spec.percent, at.key("percent"));
    let answer = match (spec.status, spec.grpc_status) {
        (Some(status), None) => {
            let status = reader.count(Some(status), STATUSES, at.key("status"));
            let status = status.and_then(|status| u16::try_from(status).ok());
            status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .map(AbortWith::Status)
        }
        (None, Some(status)) => {
            grpc_status(reader, status, at.key("grpcStatus")).map(AbortWith::Grpc)
        }
        _ => {
            let of = "status, grpcStatus";
            reader.push(at, FieldReason::ExactlyOne { of });
            None
        }
    };
    let headers = reader.header_matches(spec.headers, at.key("headers"));
    Some(AbortFault {
        percent: percent?,
        answer: answer?,
        headers,
    })
}

fn percent(reader: &mut Reader<'_>, value: Option<i64>, at: Path<'_>) -> Option<u8> {
    let percent = reader.percent(value, 0, at);
    reader.required((value, percent), at)
}

fn grpc_status(reader: &mut Reader<'_>, status: GrpcStatus<'_>, at: Path<'_>) -> Option<u8> {
    match status {
        GrpcStatus::Number(code) => {
            let code = reader.count(Some(code), 1..=grpc_status::CODE_MAX, at)?;
            u8::try_from(code).ok()
        }
        GrpcStatus::Name(name) => {
            let code = grpc_status::code(name);
            if code.is_none() {
                reader.not_one_of(name, GRPC_STATUSES, at);
            }
            code
        }
    }
}
