//! Numbers, durations and sizes within bounds. What is out of them is told with the bounds.

use std::{ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use crate::{
    model::duration,
    sources::parse::{field::FieldReason, path::Path, route::Reader},
};

/// The shortest that a manifest can say.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
/// Of what is measured within a request or between two.
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// Of what spans many requests.
pub(super) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Of anything that is counted.
pub(super) const COUNT_MAX: u32 = 1_000_000;

/// A Kubernetes quantity of bytes: a whole number, by itself or with k, M, G, Ki, Mi or Gi.
#[derive(Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of bytes, such as 65536, 64Ki or 1M"
)]
pub(super) enum Quantity<'a> {
    Number(u64),
    Text(&'a str),
}

impl Quantity<'_> {
    fn bytes(self) -> Option<u64> {
        const UNITS: [(&str, u64); 6] = [
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
        ];
        let text = match self {
            Self::Number(bytes) => return Some(bytes),
            Self::Text(text) => text,
        };
        let of_unit = |(unit, bytes)| Some((text.strip_suffix(unit)?, bytes));
        let (number, unit) = UNITS.into_iter().find_map(of_unit).unwrap_or((text, 1));
        // `parse` alone would take a sign.
        let is_whole = number.bytes().all(|byte| byte.is_ascii_digit());
        number
            .parse::<u64>()
            .ok()?
            .checked_mul(unit)
            .filter(|_| is_whole)
    }
}

impl Reader<'_> {
    /// A whole number, where there is one.
    pub(super) fn count(
        &mut self,
        value: Option<i64>,
        bounds: RangeInclusive<u32>,
        at: Path<'_>,
    ) -> Option<u32> {
        let value = value?;
        let within = u32::try_from(value).ok().filter(|n| bounds.contains(n));
        if within.is_none() {
            let (min, max) = bounds.into_inner();
            self.push(at, FieldReason::Range { value, min, max });
        }
        within
    }

    /// A percentage, from `min` on.
    pub(super) fn percent(&mut self, value: Option<i64>, min: u32, at: Path<'_>) -> Option<u8> {
        let percent = self.count(value, min..=100, at)?;
        u8::try_from(percent).ok()
    }

    pub(super) fn within(
        &mut self,
        text: Option<&str>,
        bounds: RangeInclusive<Duration>,
        at: Path<'_>,
    ) -> Option<Duration> {
        self.bounded(text, bounds, false, at)
    }

    /// The same, or `0s`.
    pub(super) fn zero_or_within(
        &mut self,
        text: Option<&str>,
        bounds: RangeInclusive<Duration>,
        at: Path<'_>,
    ) -> Option<Duration> {
        self.bounded(text, bounds, true, at)
    }

    fn bounded(
        &mut self,
        text: Option<&str>,
        bounds: RangeInclusive<Duration>,
        or_zero: bool,
        at: Path<'_>,
    ) -> Option<Duration> {
        let text = text?;
        let duration = match duration::parse(text) {
            Ok(duration) => duration,
            Err(error) => {
                self.push(at, FieldReason::Duration(error));
                return None;
            }
        };
        if bounds.contains(&duration) || or_zero && duration.is_zero() {
            return Some(duration);
        }
        let value = text.to_owned();
        let (min, max) = bounds.into_inner();
        let reason = FieldReason::DurationRange {
            value,
            min,
            max,
            or_zero,
        };
        self.push(at, reason);
        None
    }

    pub(super) fn size(
        &mut self,
        quantity: Option<Quantity<'_>>,
        bounds: RangeInclusive<usize>,
        at: Path<'_>,
    ) -> Option<usize> {
        let quantity = quantity?;
        let bytes = quantity
            .bytes()
            .and_then(|bytes| usize::try_from(bytes).ok());
        let within = bytes.filter(|bytes| bounds.contains(bytes));
        if within.is_none() {
            let value = match quantity {
                Quantity::Number(bytes) => bytes.to_string(),
                Quantity::Text(text) => text.to_owned(),
            };
            let (min, max) = bounds.into_inner();
            self.push(at, FieldReason::Size { value, min, max });
        }
        within
    }

    /// What `value` must be there for; what is wrong with it has been told where it was read.
    pub(super) fn required<S, T>(
        &mut self,
        (written, read): (Option<S>, Option<T>),
        at: Path<'_>,
    ) -> Option<T> {
        if written.is_none() {
            self.push(at, FieldReason::Required);
        }
        read
    }

    /// Each of `words`, which are all known and none there twice. `read` is told each in turn.
    pub(super) fn words(
        &mut self,
        words: &[&str],
        allowed: &'static str,
        mut read: impl FnMut(&str) -> bool,
        at: Path<'_>,
    ) {
        if words.is_empty() {
            self.push(at, FieldReason::Required);
        }
        for (index, word) in words.iter().enumerate() {
            if words.iter().take(index).any(|before| before == word) {
                self.twice(*word, at.index(index));
            } else if !read(word) {
                self.not_one_of(word, allowed, at.index(index));
            }
        }
    }
}
