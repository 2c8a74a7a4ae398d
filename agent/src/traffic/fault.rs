//! `fault`: failures on purpose, to see what they do.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::{matching::header_matches, random::below};
use crate::model::{
    route::TextMatch,
    traffic_policy::{AbortWith, Fault},
};

/// What befalls one request: the delay first, then the answer in place of a try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub delay: Option<Duration>,
    pub abort: Option<AbortWith>,
}

/// Either befalls its share of the requests whose headers match, and neither depends on the other:
/// each has half of the random bits.
pub fn decide(fault: &Fault, headers: &HeaderMap, random: u64) -> Injected {
    let met = |percent: u8, wanted: &[(HeaderName, TextMatch)], bits: u64| {
        below(bits, 100) < u64::from(percent)
            && wanted
                .iter()
                .all(|(name, value)| header_matches(value, name, headers))
    };
    let delay = fault.delay.as_ref();
    let abort = fault.abort.as_ref();
    Injected {
        delay: delay
            .filter(|delay| met(delay.percent, &delay.headers, random >> 32 << 32))
            .map(|delay| delay.duration),
        abort: abort
            .filter(|abort| met(abort.percent, &abort.headers, random << 32))
            .map(|abort| abort.answer),
    }
}

/// What an HTTP client is answered: of a gRPC status the HTTP status that means it (the mapping of
/// `google.rpc.Code`).
pub fn http_status(answer: AbortWith) -> StatusCode {
    let code = match answer {
        AbortWith::Status(status) => return status,
        AbortWith::Grpc(code) => code,
    };
    match code {
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a gRPC client is answered: of an HTTP status what it would make of that itself (gRPC, "HTTP
/// to gRPC Status Code Mapping").
pub fn grpc_status(answer: AbortWith) -> u16 {
    let status = match answer {
        AbortWith::Grpc(code) => return code.into(),
        AbortWith::Status(status) => status,
    };
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
