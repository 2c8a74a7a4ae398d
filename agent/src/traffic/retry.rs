//! `retries`: what is tried again, and when.
//!
//! What was certainly not processed may be tried again whatever it was; all else only where doing
//! it twice does as much as doing it once (RFC 9110 §9.2.2), or where the policy says so.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};

use super::{nanos::nanos, random::below};
use crate::model::traffic_policy::{
    RETRY_ATTEMPTS, RETRY_BACKOFF_BASE, RETRY_BACKOFF_MAX, RETRY_BUDGET_MIN_PER_SECOND,
    RETRY_BUDGET_PERCENT, RETRY_BUFFER_BYTES, RetryOn, RetryPolicy,
};

pub mod depth;

static ON_DEFAULT: RetryOn = RetryOn::ALWAYS_SAFE;

/// What acts on one request: the fields of all policies that are laid over each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries<'p> {
    /// After the first try.
    pub attempts: u32,
    pub on: &'p RetryOn,
    pub per_try_timeout: Option<Duration>,
    pub backoff_base: Duration,
    pub backoff_max: Duration,
    /// `None`: the idempotent ones.
    pub methods: Option<&'p [Method]>,
    pub buffer_bytes: usize,
    pub budget_percent: u8,
    pub budget_min_per_second: u32,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// No connection: nothing was sent.
    Unsent,
    /// REFUSED_STREAM (RFC 9113 §8.7): nothing was processed.
    Refused,
    /// The connection ended before an answer.
    Reset,
    /// It ran into the time of one try.
    TimedOut,
    /// `grpc`: of a gRPC call's answer, its `grpc-status`.
    Answered {
        status: StatusCode,
        grpc: Option<u32>,
    },
}

impl<'p> Retries<'p> {
    /// Of each field what the first of the layers says that says anything, else the default.
    pub fn of<L>(layers: L) -> Self
    where
        L: IntoIterator<Item = &'p RetryPolicy> + Clone,
    {
        let per_try_timeout = first(&layers, |layer| layer.per_try_timeout);
        Self {
            attempts: first(&layers, |layer| layer.attempts).unwrap_or(RETRY_ATTEMPTS),
            on: first(&layers, |layer| layer.on.as_ref()).unwrap_or(&ON_DEFAULT),
            // Zero is said on purpose: no limit, whatever other layers say.
            per_try_timeout: per_try_timeout.filter(|timeout| !timeout.is_zero()),
            backoff_base: first(&layers, |layer| layer.backoff_base).unwrap_or(RETRY_BACKOFF_BASE),
            backoff_max: first(&layers, |layer| layer.backoff_max).unwrap_or(RETRY_BACKOFF_MAX),
            methods: first(&layers, |layer| layer.methods.as_deref()),
            buffer_bytes: first(&layers, |layer| layer.buffer_bytes).unwrap_or(RETRY_BUFFER_BYTES),
            budget_percent: first(&layers, |layer| layer.budget_percent)
                .unwrap_or(RETRY_BUDGET_PERCENT),
            budget_min_per_second: first(&layers, |layer| layer.budget_min_per_second)
                .unwrap_or(RETRY_BUDGET_MIN_PER_SECOND),
        }
    }

    /// Whether a request may be tried again after that. How often, and whether the budget has one
    /// left, is not asked here. `grpc`: it is a gRPC call.
    pub fn again(&self, tried: Tried, method: &Method, grpc: bool) -> bool {
        let on = self.on;
        let named = match tried {
            Tried::Unsent => return on.connect_failure,
            Tried::Refused => return on.refused_stream,
            Tried::Reset => on.reset,
            Tried::TimedOut => on.timeout || on.gateway_error || on.server_error || on.reset,
            Tried::Answered { status, grpc: code } => {
                // Calls are POST. Who names their statuses means calls.
                if grpc && names_grpc(on, status, code) {
                    return true;
                }
                names_status(on, status)
            }
        };
        named && self.may_repeat(method)
    }

    /// Before the retry of that number, from 1 on: evenly from none to all of a time that doubles
    /// ("full jitter"), so that clients which failed together do not come back together.
    pub fn backoff(&self, retry: u32, random: u64) -> Duration {
        let doublings = 1_u32
            .checked_shl(retry.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let longest = self.backoff_base.saturating_mul(doublings);
        let longest = nanos(longest.min(self.backoff_max));
        Duration::from_nanos(below(random, longest.saturating_add(1)))
    }

    /// Whether a request may be tried again after any of it was sent: its body must be kept, up to
    /// [`Self::buffer_bytes`].
    ///
    /// Only HTTP/2 has streams to refuse.
    pub fn needs_replay(&self, http2: bool) -> bool {
        let RetryOn {
            connect_failure: _,
            refused_stream,
            reset,
            gateway_error,
            server_error,
            retriable_4xx,
            timeout,
            statuses,
            grpc,
        } = self.on;
        let named = [
            &(*refused_stream && http2),
            reset,
            gateway_error,
            server_error,
        ]
        .into_iter()
        .chain([retriable_4xx, timeout])
        .any(|named| *named);
        self.attempts > 0 && (named || !statuses.is_empty() || *grpc != 0)
    }

    fn may_repeat(&self, method: &Method) -> bool {
        self.methods
            .map_or_else(|| method.is_idempotent(), |named| named.contains(method))
    }
}

fn first<'p, L, T>(layers: &L, field: impl FnMut(&'p RetryPolicy) -> Option<T>) -> Option<T>
where
    L: IntoIterator<Item = &'p RetryPolicy> + Clone,
{
    layers.clone().into_iter().find_map(field)
}

fn names_status(on: &RetryOn, status: StatusCode) -> bool {
    let is_gateway_error = matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    );
    on.gateway_error && is_gateway_error
        || on.server_error && status.is_server_error()
        || on.retriable_4xx && status == StatusCode::CONFLICT
        || on.statuses.contains(&status)
}

/// An answer without `grpc-status` has the one that its HTTP status means to a client.
fn names_grpc(on: &RetryOn, status: StatusCode, code: Option<u32>) -> bool {
    let code = code.or_else(|| (status != StatusCode::OK).then(|| grpc_of_http(status)));
    code.and_then(|code| 1_u32.checked_shl(code))
        .is_some_and(|bit| on.grpc & bit != 0)
}

/// gRPC, "HTTP to gRPC Status Code Mapping".
fn grpc_of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// What an answer's `retry-after` says, in seconds or as a date (RFC 9110 §10.2.3); zero of a date
/// that is over. `None`: it has none, or what it has is neither.
pub fn retry_after(headers: &HeaderMap, unix_now: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is forever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let unix = date.duration_since(UNIX_EPOCH).ok()?;
    Some(unix.saturating_sub(Duration::from_secs(unix_now)))
}

#[cfg(test)]
mod tests;
