//! A token bucket in one word: the generic cell rate algorithm (ITU-T I.371, Annex A).
//!
//! Instead of tokens it keeps the time at which the bucket will be full again, the "theoretical
//! arrival time". A token moves it on by the time in which one comes; if that would be farther away
//! than the whole bucket takes to fill, there is none.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::nanos::nanos;

/// One bucket, full at first. Its limit is passed along, so that it may change. Times are since any
/// start that is one for all threads.
#[derive(Debug, Default)]
pub struct TokenBucket {
    /// Nanoseconds.
    full_at: AtomicU64,
}

impl TokenBucket {
    /// Takes one of `requests` tokens `per` that time, of which the bucket holds `burst`. A token
    /// comes in whole nanoseconds, rounded up: never more than `requests` do.
    ///
    /// # Errors
    /// When there is none, the time until one is there; `per` where none ever comes.
    pub fn take(
        &self,
        requests: u32,
        per: Duration,
        burst: u32,
        now: Duration,
    ) -> Result<(), Duration> {
        let interval = interval_nanos(requests, per).ok_or(per)?;
        let (now, burst) = (nanos(now), u64::from(burst));
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            let ahead = full_at.saturating_sub(now);
            let ahead = admit(ahead, interval, burst).map_err(Duration::from_nanos)?;
            let next = now.saturating_add(ahead);
            match self
                .full_at
                .compare_exchange_weak(full_at, next, Relaxed, Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

/// How far ahead of the present a bucket's time is once a token is taken, given how far it is now,
/// the time in which a token comes and how many the bucket holds, at least one. Any unit.
///
/// # Errors
/// When there is no token, the time until one is there.
pub(super) fn admit(ahead: u64, interval: u64, burst: u64) -> Result<u64, u64> {
    let next = ahead.saturating_add(interval);
    match next.checked_sub(interval.saturating_mul(burst.max(1))) {
        None | Some(0) => Ok(next),
        Some(wait) => Err(wait),
    }
}

/// In which a token comes; `None`: none ever does.
pub(super) fn interval_nanos(requests: u32, per: Duration) -> Option<u64> {
    (requests > 0).then(|| nanos(per).div_ceil(u64::from(requests)).max(1))
}

#[cfg(test)]
mod tests;
