//! Durations as the Gateway API writes them (GEP-2257): `500ms`, `10s`, `1h30m`.

use std::time::Duration;

use thiserror::Error;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[error(
    "a duration is written as up to four of h, m, s and ms, each with up to five digits: 500ms, 10s, 1h30m"
)]
pub struct DurationError;

/// Reads `^([0-9]{1,5}(h|m|s|ms)){1,4}$`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 5 || parts == 4 {
            return Err(DurationError);
        }
        let number: u64 = rest[..digits].parse().map_err(|_| DurationError)?;
        rest = &rest[digits..];
        // `ms` before `m` and `s`: the longest unit that fits.
        let (unit, unit_ms) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or(DurationError)?;
        rest = &rest[unit.len()..];
        total += Duration::from_millis(number * unit_ms);
        parts += 1;
    }
    if parts == 0 {
        Err(DurationError)
    } else {
        Ok(total)
    }
}

/// As [`parse`] reads it, in the largest unit that is exact; what is below a millisecond is lost.
pub fn text(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (unit, unit_ms) = [("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        .into_iter()
        .find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(*unit_ms))
        .unwrap_or(if ms == 0 { ("s", 1000) } else { ("ms", 1) });
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests;
