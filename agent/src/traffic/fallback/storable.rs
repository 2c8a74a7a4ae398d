//! Which answers are kept: those that a shared cache may store and serve stale (RFC 9111 §3, §4.2.4).
//!
//! An answer that says nothing of caching is kept too, and is stale at once: it is served only where
//! a policy says that a stale answer is better than none.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AGE, AUTHORIZATION, COOKIE, DATE, EXPIRES, SET_COOKIE, VARY},
};

use super::cache_control::{CacheControl, delta_seconds};
use crate::traffic::hop::names_in;

/// Names in one `Vary`; an answer with more is not kept.
pub const VARY_MAX: usize = 16;

/// What is to be known of an answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storable {
    /// When it arrived (RFC 9111 §4.2.3).
    pub age: Duration,
    /// The age at which it goes stale; zero where nothing is said of that.
    pub fresh_for: Duration,
    /// How long after that it may be served, whatever a policy allows; `None`: nothing is said.
    pub stale_if_error: Option<Duration>,
    /// Headers of the request by which answers differ.
    pub vary: Vec<HeaderName>,
    /// `public`: for requests with credentials too.
    pub public: bool,
}

/// `None` of an answer that must not be kept, or that is no good one: only what a client can go on
/// with is, and errors are not. 2xx and redirects that are cacheable by themselves are kept (RFC 9110
/// §15.1), other redirects where they say for how long.
///
/// The caller sees to it that the body is whole and that no trailers follow it.
pub fn of(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    answer: &HeaderMap,
    now_unix: u64,
) -> Option<Storable> {
    let control = CacheControl::of(answer);
    let date = date(answer, DATE).flatten();
    let fresh_for = fresh_for(answer, &control, date.unwrap_or(now_unix));
    let is_method = *method == Method::GET || *method == Method::HEAD;
    if !is_method || !is_good(status, fresh_for.is_some()) {
        return None;
    }
    // RFC 9111 §4.2.4: what asks for no-cache is never served without asking.
    let forbidden = control.no_store || control.no_cache || control.private;
    if forbidden || CacheControl::of(request).no_store {
        return None;
    }
    let personal = has_credentials(request) || answer.contains_key(SET_COOKIE);
    if personal && !control.public {
        return None;
    }
    let fresh_for = fresh_for.unwrap_or_default();
    let age = age(answer, date, now_unix);
    let fresh_only = control.must_revalidate || control.s_maxage.is_some();
    if fresh_only && age >= fresh_for {
        return None;
    }
    let stale_if_error = match fresh_only {
        true => Some(Duration::ZERO),
        false => control.stale_if_error,
    };
    Some(Storable {
        age,
        fresh_for,
        stale_if_error,
        vary: vary(answer)?,
        public: control.public,
    })
}

/// Whether a request says who its user is.
pub(super) fn has_credentials(request: &HeaderMap) -> bool {
    request.contains_key(AUTHORIZATION) || request.contains_key(COOKIE)
}

fn is_good(status: StatusCode, explicit: bool) -> bool {
    match status.as_u16() {
        200 | 203 | 204 | 300 | 301 | 308 => true,
        302 | 303 | 307 => explicit,
        _ => false,
    }
}

/// `None` where the answer does not say (RFC 9111 §4.2.1). `date`: when it was written.
fn fresh_for(answer: &HeaderMap, control: &CacheControl, date_unix: u64) -> Option<Duration> {
    control.s_maxage.or(control.max_age).or_else(|| {
        // What is no date, as `0`, is in the past (RFC 9111 §5.3).
        let expires = date(answer, EXPIRES)?.unwrap_or(0);
        Some(Duration::from_secs(expires.saturating_sub(date_unix)))
    })
}

fn age(answer: &HeaderMap, date: Option<u64>, now_unix: u64) -> Duration {
    let said = answer.get(AGE).and_then(|age| age.to_str().ok());
    let said = said.and_then(|age| delta_seconds(age.trim())).unwrap_or(0);
    let apparent = date.map_or(0, |date| now_unix.saturating_sub(date));
    Duration::from_secs(said.max(apparent))
}

/// Seconds since 1970; `Some(None)` where there is a field and it is no date.
fn date(headers: &HeaderMap, field: HeaderName) -> Option<Option<u64>> {
    let parse = |value: &HeaderValue| {
        let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    };
    headers.get(field).map(parse)
}

/// `None` where the answer is for this one request alone, or where it is not known for which.
fn vary(answer: &HeaderMap) -> Option<Vec<HeaderName>> {
    let is_text = |line: &HeaderValue| line.to_str().is_ok();
    if !answer.get_all(VARY).iter().all(is_text) {
        return None;
    }
    let names = names_in(answer, VARY).filter(|name| !name.is_empty());
    // `*` is a token too, and so could be the name of a field.
    let parsed = names.map(|name| (name != "*").then(|| name.parse().ok())?);
    let mut vary: Vec<HeaderName> = parsed.collect::<Option<_>>()?;
    vary.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    vary.dedup();
    (vary.len() <= VARY_MAX).then_some(vary)
}

#[cfg(test)]
mod tests;
