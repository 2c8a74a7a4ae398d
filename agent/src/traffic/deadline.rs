//! `grpc-timeout`: for how long a gRPC client waits (gRPC over HTTP/2, "Timeout").

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// One to eight of them.
const DIGITS_MAX: usize = 8;
const VALUE_MAX: u128 = 99_999_999;

/// Units and their nanoseconds, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// What is left to a call. `None`: its client said nothing, or not as it should.
pub fn of_grpc(headers: &HeaderMap) -> Option<Duration> {
    let mut lines = headers.get_all(GRPC_TIMEOUT).iter();
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let (unit, digits) = line.as_bytes().split_last()?;
    let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(value * 10 + digit)
    })?;
    // 99999999 hours are 11,415 years: more than 64 bits have of nanoseconds, not of seconds.
    let (value, nanos) = (u128::from(value), u128::from(*nanos));
    let seconds = u64::try_from(value * nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(value * nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Passes on what is `left`, as fine as eight digits allow and never more.
pub fn write_grpc(headers: &mut HeaderMap, left: Duration) {
    let nanos = left.as_nanos();
    let fitting = UNITS.iter().find_map(|(name, unit)| {
        let value = nanos / u128::from(*unit);
        (value <= VALUE_MAX).then_some((value, *name))
    });
    let (value, unit) = fitting.unwrap_or((VALUE_MAX, b'H'));
    let text = format!("{value}{}", char::from(unit));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests;
