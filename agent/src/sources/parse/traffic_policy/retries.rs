//! `retries`, and `retry` of an HTTPRoute's rule.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{
    grpc_status,
    values::{COUNT_MAX, HOUR, Quantity, SHORTEST, WEEK},
};
use crate::{
    model::traffic_policy::{
        RETRY_ATTEMPTS_MAX, RETRY_BACKOFF_BASE, RETRY_BACKOFF_MAX, RETRY_BUFFER_BYTES_MAX, RetryOn,
        RetryPolicy,
    },
    sources::parse::{field::FieldReason, path::Path, route::Reader},
};

const ON: &str = "connect-failure, refused-stream, reset, gateway-error, 5xx, retriable-4xx, \
                  timeout, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable";
/// gRPC statuses after which another try may go better.
const GRPC_ON: [&str; 5] = [
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];
/// A CONNECT has no end that another try could begin after.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH";
/// GEP-1731, `HTTPRouteRetryStatusCode`.
const CODES: std::ops::RangeInclusive<u32> = 400..=599;
const CODES_MAX: usize = 64;
/// Longer than either list of words, without repetitions.
const WORDS_MAX: usize = 16;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    /// After the first try: 0 to 10. Default 2.
    attempts: Option<i64>,
    /// The conditions after which a request is tried again; a list replaces the default, which is
    /// connect-failure and refused-stream.
    #[serde(borrow)]
    on: Option<Vec<&'a str>>,
    /// 1ms to 168h and not longer than `timeouts.request`, or 0s for no limit of its own, which is
    /// the default.
    per_try_timeout: Option<&'a str>,
    #[serde(borrow)]
    backoff: Option<Backoff<'a>>,
    /// Methods that are tried again after they may have been processed. Default: the idempotent
    /// ones.
    #[serde(borrow)]
    methods: Option<Vec<&'a str>>,
    /// Of a body that is kept for another try: 0 to 4Mi. Default 64Ki. What has more is not tried
    /// again.
    #[serde(borrow)]
    buffer_bytes: Option<Quantity<'a>>,
    budget: Option<Budget>,
}

/// The pause before a retry is a random share of what doubles from `base` up to `max`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backoff<'a> {
    /// 1ms to 1h and not longer than `max`. Default 25ms, or `max` where that is shorter.
    base: Option<&'a str>,
    /// 1ms to 1h. Default 250ms, or `base` where that is longer.
    max: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Budget {
    /// Of live requests, how many may be retries: 0 to 100 percent. Default 20.
    percent: Option<i64>,
    /// Retries a second that are allowed whatever the share: 0 to 1,000,000. Default 10.
    min_per_second: Option<i64>,
}

/// `retry` (GEP-1731).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sources::parse) struct RouteRetry<'a> {
    /// 400 to 599, at most 64 of them.
    codes: Option<Vec<i64>>,
    /// After the first try: 0 to 10. Default 2.
    attempts: Option<i64>,
    /// The least pause between two tries: 1ms to 1h. Default 25ms.
    backoff: Option<&'a str>,
}

pub(super) fn parse(
    reader: &mut Reader<'_>,
    spec: Spec<'_>,
    request_timeout: Option<Duration>,
    at: Path<'_>,
) -> RetryPolicy {
    let (backoff_base, backoff_max) =
        backoff(reader, &spec.backoff.unwrap_or_default(), at.key("backoff"));
    let budget = spec.budget.unwrap_or_default();
    let at_budget = at.key("budget");
    let at_try = at.key("perTryTimeout");
    let per_try_timeout = reader.zero_or_within(spec.per_try_timeout, SHORTEST..=WEEK, at_try);
    if let (Some(of_try), Some(whole)) = (per_try_timeout, request_timeout)
        && !whole.is_zero()
        && of_try > whole
    {
        reader.push(at_try, FieldReason::LongerThanRequest);
    }
    RetryPolicy {
        attempts: reader.count(spec.attempts, 0..=RETRY_ATTEMPTS_MAX, at.key("attempts")),
        on: spec.on.map(|words| on(reader, words, at.key("on"))),
        per_try_timeout,
        backoff_base,
        backoff_max,
        methods: spec
            .methods
            .map(|words| methods(reader, words, METHODS, at.key("methods"))),
        buffer_bytes: reader.size(
            spec.buffer_bytes,
            0..=RETRY_BUFFER_BYTES_MAX,
            at.key("bufferBytes"),
        ),
        budget_percent: reader.percent(budget.percent, 0, at_budget.key("percent")),
        budget_min_per_second: reader.count(
            budget.min_per_second,
            0..=COUNT_MAX,
            at_budget.key("minPerSecond"),
        ),
    }
}

fn on(reader: &mut Reader<'_>, words: Vec<&str>, at: Path<'_>) -> RetryOn {
    let words = reader.items(Some(words), WORDS_MAX, at);
    let mut on = RetryOn::default();
    let read = |word: &str| {
        let condition = match word {
            "connect-failure" => &mut on.connect_failure,
            "refused-stream" => &mut on.refused_stream,
            "reset" => &mut on.reset,
            "gateway-error" => &mut on.gateway_error,
            "5xx" => &mut on.server_error,
            "retriable-4xx" => &mut on.retriable_4xx,
            "timeout" => &mut on.timeout,
            name => {
                let bit = grpc_status::bit(name).filter(|_| GRPC_ON.contains(&name));
                on.grpc |= bit.unwrap_or_default();
                return bit.is_some();
            }
        };
        *condition = true;
        true
    };
    reader.words(&words, ON, read, at);
    on
}

/// Those of `allowed`, whose names are of HTTP.
pub(super) fn methods(
    reader: &mut Reader<'_>,
    words: Vec<&str>,
    allowed: &'static str,
    at: Path<'_>,
) -> Vec<Method> {
    let words = reader.items(Some(words), WORDS_MAX, at);
    let mut methods = Vec::with_capacity(words.len());
    let read = |word: &str| {
        let known = allowed.split(", ").any(|known| known == word);
        methods.extend(Method::from_bytes(word.as_bytes()).ok().filter(|_| known));
        known
    };
    reader.words(&words, allowed, read, at);
    methods
}

/// What is said moves what is not: of the two the base never is the longer.
fn backoff(
    reader: &mut Reader<'_>,
    spec: &Backoff<'_>,
    at: Path<'_>,
) -> (Option<Duration>, Option<Duration>) {
    let base = reader.within(spec.base, SHORTEST..=HOUR, at.key("base"));
    let max = reader.within(spec.max, SHORTEST..=HOUR, at.key("max"));
    match (base, max) {
        (Some(base), Some(max)) if base > max => {
            let other = "backoff.max";
            reader.push(at.key("base"), FieldReason::LongerThan { other });
        }
        _ => {}
    }
    (
        base.or(max.filter(|max| *max < RETRY_BACKOFF_BASE)),
        max.or(base.filter(|base| *base > RETRY_BACKOFF_MAX)),
    )
}

impl Reader<'_> {
    /// A stanza also asks for another try after connection errors: refused, reset, timed out
    /// (GEP-1731).
    pub(in crate::sources::parse) fn route_retry(
        &mut self,
        spec: Option<RouteRetry<'_>>,
        at: Path<'_>,
    ) -> RetryPolicy {
        let Some(spec) = spec else {
            return RetryPolicy::default();
        };
        let at_codes = at.key("codes");
        let mut statuses: Vec<StatusCode> = Vec::new();
        for (index, code) in self
            .items(spec.codes, CODES_MAX, at_codes)
            .into_iter()
            .enumerate()
        {
            let code = self.count(Some(code), CODES, at_codes.index(index));
            let status = code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
            // The CRD's list may say a code twice.
            statuses.extend(status.filter(|status| !statuses.contains(status)));
        }
        let base = self.within(spec.backoff, SHORTEST..=HOUR, at.key("backoff"));
        RetryPolicy {
            attempts: self.count(spec.attempts, 0..=RETRY_ATTEMPTS_MAX, at.key("attempts")),
            on: Some(RetryOn {
                reset: true,
                timeout: true,
                statuses,
                ..RetryOn::ALWAYS_SAFE
            }),
            backoff_base: base,
            backoff_max: base.filter(|base| *base > RETRY_BACKOFF_MAX),
            ..RetryPolicy::default()
        }
    }
}
