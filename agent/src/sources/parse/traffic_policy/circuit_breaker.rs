//! `circuitBreaker`.

use serde::Deserialize;

use super::{
    grpc_status,
    values::{COUNT_MAX, HOUR, SHORTEST},
};
use crate::{
    model::traffic_policy::{CircuitBreaker, ErrorOn},
    sources::parse::{field::FieldReason, path::Path, route::Reader},
};

const ERROR_ON: &str = "5xx, 429, cancelled, unknown, invalid-argument, deadline-exceeded, \
                        not-found, already-exists, permission-denied, resource-exhausted, \
                        failed-precondition, aborted, out-of-range, unimplemented, internal, \
                        unavailable, data-loss, unauthenticated";
/// Longer than the list of words, without repetitions.
const WORDS_MAX: usize = 32;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    /// Errors in a row that open it: 0 to 1,000,000, of which 0 is never. Default 5.
    consecutive_errors: Option<i64>,
    /// Share of errors within `window` that opens it: 1 to 100 percent. Default: never.
    error_percent: Option<i64>,
    /// 100ms to 1h. Default 10s.
    window: Option<&'a str>,
    /// That `window` must have before its share counts: 1 to 1,000,000. Default 20.
    min_requests: Option<i64>,
    /// 1ms to 1h and not longer than `maxOpenFor`; doubles with every failed probe. Default 1s, or
    /// `maxOpenFor` where that is shorter.
    open_for: Option<&'a str>,
    /// 1ms to 1h. Default 60s, or `openFor` where that is longer.
    max_open_for: Option<&'a str>,
    /// At a time while it is half open: 1 to 1,000,000. Default 1.
    half_open_requests: Option<i64>,
    /// For how long they have to succeed: 1ms to 1h, or 0s, the default: the first success closes
    /// it.
    half_open_for: Option<&'a str>,
    /// Share of a service's endpoints that may be open: 0 to 100 percent. Default 100.
    max_ejected_percent: Option<i64>,
    /// What is an error beside 502, 503, 504, resets, connect failures and timeouts: 5xx, 429, and
    /// gRPC statuses by name. Default: none.
    #[serde(borrow)]
    error_on: Option<Vec<Word<'a>>>,
}

/// `429` without quotes is a number.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected 5xx, 429 or the name of a gRPC status")]
enum Word<'a> {
    Number(u64),
    Text(&'a str),
}

const WINDOW_MIN: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) fn parse(reader: &mut Reader<'_>, spec: Spec<'_>, at: Path<'_>) -> CircuitBreaker {
    let default = CircuitBreaker::default();
    let open_for = reader.within(spec.open_for, SHORTEST..=HOUR, at.key("openFor"));
    let max_open_for = reader.within(spec.max_open_for, SHORTEST..=HOUR, at.key("maxOpenFor"));
    if let (Some(open_for), Some(max)) = (open_for, max_open_for)
        && open_for > max
    {
        let other = "maxOpenFor";
        reader.push(at.key("openFor"), FieldReason::LongerThan { other });
    }
    let mut count = |value, min, key, or| {
        let count = reader.count(value, min..=COUNT_MAX, at.key(key));
        count.unwrap_or(or)
    };
    let (consecutive_errors, min_requests, half_open_requests) = (
        count(
            spec.consecutive_errors,
            0,
            "consecutiveErrors",
            default.consecutive_errors,
        ),
        count(spec.min_requests, 1, "minRequests", default.min_requests),
        count(
            spec.half_open_requests,
            1,
            "halfOpenRequests",
            default.half_open_requests,
        ),
    );
    let window = reader.within(spec.window, WINDOW_MIN..=HOUR, at.key("window"));
    let at_half = at.key("halfOpenFor");
    let half_open_for = reader.zero_or_within(spec.half_open_for, SHORTEST..=HOUR, at_half);
    let at_ejected = at.key("maxEjectedPercent");
    let max_ejected_percent = reader.percent(spec.max_ejected_percent, 0, at_ejected);
    CircuitBreaker {
        consecutive_errors,
        error_percent: reader.percent(spec.error_percent, 1, at.key("errorPercent")),
        window: window.unwrap_or(default.window),
        min_requests,
        // What is said moves what is not: of the two the first never is the longer.
        open_for: open_for
            .unwrap_or(max_open_for.map_or(default.open_for, |max| max.min(default.open_for))),
        max_open_for: max_open_for.unwrap_or(
            open_for.map_or(default.max_open_for, |open| open.max(default.max_open_for)),
        ),
        half_open_requests,
        half_open_for: half_open_for.unwrap_or(default.half_open_for),
        max_ejected_percent: max_ejected_percent.unwrap_or(default.max_ejected_percent),
        error_on: error_on(reader, spec.error_on, at.key("errorOn")),
    }
}

fn error_on(reader: &mut Reader<'_>, words: Option<Vec<Word<'_>>>, at: Path<'_>) -> ErrorOn {
    let mut on = ErrorOn::default();
    let Some(words) = words else {
        return on;
    };
    let words = reader.items(Some(words), WORDS_MAX, at);
    let texts: Vec<String> = words
        .iter()
        .map(|word| match word {
            Word::Number(number) => number.to_string(),
            Word::Text(text) => (*text).to_owned(),
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let read = |word: &str| {
        match word {
            "5xx" => on.server_error = true,
            "429" => on.too_many_requests = true,
            name => {
                let bit = grpc_status::bit(name);
                on.grpc |= bit.unwrap_or_default();
                return bit.is_some();
            }
        }
        true
    };
    reader.words(&texts, ERROR_ON, read, at);
    on
}
