//! `rateLimit`: a token bucket for all callers, or one for each of them.
//!
//! Buckets of callers are cells of a table of fixed size, whatever they call themselves. A bucket
//! that is full again says nothing, so its cell is free; a caller that finds none shares one, and
//! is limited too early rather than too late.

use std::{
    iter,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    nanos::nanos,
    token_bucket::{TokenBucket, admit, interval_nanos},
};
use crate::model::traffic_policy::{RateLimit, RateLimitBy};

/// Callers of one limit whose buckets are not full: 128 KiB, from the first of them on.
pub const CELLS: usize = 16_384;

/// Of which a caller may have any: one cache line.
const GROUP_CELLS: usize = 8;
const GROUPS: u64 = (CELLS / GROUP_CELLS) as u64;

/// Of a cell, for its time; the rest is for a fingerprint of the caller.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Ticks of a token's time, at least, as a power of two: it is exact to a thousandth.
const TICKS_BITS: u32 = 10;

/// Of the ticks of a whole bucket: far fewer than there are times, so that one that seems to be
/// farther ahead is in truth one of the past.
const BUCKET_BITS: u32 = 38;

/// By which workers' clocks may differ.
const LAG: Duration = Duration::from_secs(1);

/// One `rateLimit` of one policy and what is left of it.
#[derive(Debug)]
pub struct Limiter {
    limit: RateLimit,
    all: TokenBucket,
    keyed: Keyed,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    pub retry_after: Duration,
    /// The table had no cell for this caller: what it had to share was empty.
    pub crowded: bool,
}

impl Limiter {
    pub fn new(limit: RateLimit) -> Self {
        Self {
            keyed: Keyed::new(&limit),
            all: TokenBucket::default(),
            limit,
        }
    }

    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// Takes a token of the caller of that hash, which matters for limits `by` something alone. It
    /// is of 64 good bits and seeded at random, so that nobody knows whose bucket is where. Times
    /// are since any start that is one for all threads.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&self, by: u64, now: Duration) -> Result<(), Limited> {
        let &RateLimit {
            requests,
            per,
            burst,
            ..
        } = &self.limit;
        match self.limit.by {
            RateLimitBy::All => self
                .all
                .take(requests, per, burst, now)
                .map_err(|retry_after| Limited {
                    retry_after,
                    crowded: false,
                }),
            RateLimitBy::Identity | RateLimitBy::Header(_) => self.keyed.take(by, now),
        }
    }
}

/// Buckets as [`TokenBucket`]'s, whose times count in ticks and start over: only differences count.
#[derive(Debug)]
struct Keyed {
    /// Fingerprint and time at which the bucket will be full again; 0: never used.
    groups: OnceLock<Box<[Group]>>,
    /// A tick in nanoseconds, as a power of two.
    tick_bits: u32,
    /// In which a token comes, in ticks. `None`: never.
    interval: Option<u64>,
    per: Duration,
    burst: u64,
    /// How many ticks a bucket's time is ahead at most.
    ahead_max: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Group([AtomicU64; GROUP_CELLS]);

/// What a caller found in its group.
struct Found<'g> {
    cell: &'g AtomicU64,
    word: u64,
    /// Whose it will be.
    fingerprint: u64,
    ahead: u64,
    crowded: bool,
}

impl Keyed {
    fn new(limit: &RateLimit) -> Self {
        let interval = interval_nanos(limit.requests, limit.per);
        let burst = u64::from(limit.burst.max(1));
        let nanos_of_token = interval.unwrap_or(1);
        let of_bucket = u128::from(nanos_of_token) * u128::from(burst);
        let coarse = of_bucket.ilog2().saturating_sub(BUCKET_BITS - 1);
        let tick_bits = nanos_of_token
            .ilog2()
            .saturating_sub(TICKS_BITS)
            .max(coarse);
        let ticks = |nanos: u64| nanos.div_ceil(1 << tick_bits);
        Self {
            groups: OnceLock::new(),
            tick_bits,
            interval: interval.map(ticks),
            per: limit.per,
            burst,
            ahead_max: ticks(nanos_of_token) * burst + ticks(nanos(LAG)),
        }
    }

    fn take(&self, by: u64, now: Duration) -> Result<(), Limited> {
        let interval = self.interval.ok_or(Limited {
            retry_after: self.per,
            crowded: false,
        })?;
        let now = (nanos(now) >> self.tick_bits) & TIME_MASK;
        loop {
            let found = self.find(by, now);
            let ahead = admit(found.ahead, interval, self.burst).map_err(|wait| Limited {
                retry_after: Duration::from_nanos(wait.saturating_mul(1 << self.tick_bits)),
                crowded: found.crowded,
            })?;
            let time = (now + ahead) & TIME_MASK;
            let next = found.fingerprint << TIME_BITS | time;
            // Who is too late has it looked up again: somebody else has got on.
            let taken = found
                .cell
                .compare_exchange(found.word, next, Relaxed, Relaxed);
            if taken.is_ok() {
                return Ok(());
            }
        }
    }

    /// The caller's cell, else the first free one, else one of another.
    fn find(&self, by: u64, now: u64) -> Found<'_> {
        let groups = self.groups.get_or_init(|| {
            let groups = iter::repeat_with(Group::default);
            groups.take(GROUPS as usize).collect()
        });
        let Group(cells) = &groups[(by % GROUPS) as usize];
        // Of other bits than the group. Zero is nobody's.
        let fingerprint = (by >> TIME_BITS).max(1);
        let mut free = None;
        for cell in cells {
            let word = cell.load(Relaxed);
            let found = Found {
                cell,
                word,
                fingerprint,
                ahead: self.ahead(word, now),
                crowded: false,
            };
            if word >> TIME_BITS == fingerprint {
                return found;
            }
            if found.ahead == 0 && free.is_none() {
                free = Some(found);
            }
        }
        free.unwrap_or_else(|| {
            let cell = &cells[(by / GROUPS) as usize % GROUP_CELLS];
            let word = cell.load(Relaxed);
            Found {
                cell,
                word,
                fingerprint: word >> TIME_BITS,
                ahead: self.ahead(word, now),
                crowded: true,
            }
        })
    }

    /// By how many ticks a cell's time is ahead; 0: its bucket is full.
    fn ahead(&self, word: u64, now: u64) -> u64 {
        let ahead = word.wrapping_sub(now) & TIME_MASK;
        match word == 0 || ahead > self.ahead_max {
            true => 0,
            false => ahead,
        }
    }
}

#[cfg(test)]
mod tests;
