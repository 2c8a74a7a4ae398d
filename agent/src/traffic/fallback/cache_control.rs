//! `Cache-Control` (RFC 9111 §5.2), of requests and of answers.

use std::time::Duration;

use http::{HeaderMap, header::CACHE_CONTROL};

/// What is more than this many seconds is this many (RFC 9111 §1.2.2).
pub(super) const SECONDS_MAX: u64 = 1 << 31;

/// The directives that matter here. Those with names of fields, as `private="set-cookie"`, count as
/// if they had none, which is stricter (RFC 9111 §5.2.2.4, §5.2.2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheControl {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    /// Or `proxy-revalidate`.
    pub(super) must_revalidate: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    /// RFC 5861 §4.
    pub(super) stale_if_error: Option<Duration>,
    pub(super) min_fresh: Option<Duration>,
    /// Without a value: of any age.
    pub(super) max_stale: Option<Duration>,
}

impl CacheControl {
    /// A line that is no text forbids, as what it says is not known.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            match line.to_str() {
                Ok(line) => elements(line).for_each(|element| control.read(element)),
                Err(_) => control.no_store = true,
            }
        }
        control
    }

    fn read(&mut self, element: &str) {
        let (name, value) = match element.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (element, None),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" | "proxy-revalidate" => self.must_revalidate = true,
            "max-age" => shortest(&mut self.max_age, seconds(value)),
            "s-maxage" => shortest(&mut self.s_maxage, seconds(value)),
            "stale-if-error" => shortest(&mut self.stale_if_error, seconds(value)),
            "min-fresh" => self.min_fresh = Some(seconds(value)),
            "max-stale" => {
                let limit = value.map_or(Duration::from_secs(SECONDS_MAX), |v| seconds(Some(v)));
                shortest(&mut self.max_stale, limit);
            }
            _ => {}
        }
    }
}

/// Of a directive that is there twice (RFC 9111 §4.2.1).
fn shortest(of: &mut Option<Duration>, other: Duration) {
    *of = Some(of.map_or(other, |of| of.min(other)));
}

/// Zero for what is no number: such an answer is taken for stale (RFC 9111 §4.2.1).
fn seconds(value: Option<&str>) -> Duration {
    let digits = value.map(|value| value.trim().trim_matches('"'));
    Duration::from_secs(digits.and_then(delta_seconds).unwrap_or(0))
}

/// `delta-seconds` (RFC 9111 §1.2.2).
pub(super) fn delta_seconds(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // All that can go wrong is that there are too many of them.
    plain.then(|| {
        digits
            .parse()
            .map_or(SECONDS_MAX, |n: u64| n.min(SECONDS_MAX))
    })
}

/// The elements of a list (RFC 9110 §5.6.1), in which a comma between quotes separates nothing.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c| {
        if escaped {
            escaped = false;
        } else if c == '"' {
            quoted = !quoted;
        } else {
            escaped = quoted && c == '\\';
        }
        c == ',' && !quoted
    })
}

#[cfg(test)]
mod tests;
