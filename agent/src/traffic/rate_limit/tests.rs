use std::{
    collections::HashMap,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};

use super::{CELLS, GROUP_CELLS, GROUPS, Limited, Limiter};
use crate::model::traffic_policy::{RateLimit, RateLimitBy};

const START: Duration = Duration::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(requests: u32, per: Duration, burst: u32, by: RateLimitBy) -> Limiter {
    Limiter::new(RateLimit {
        requests,
        per,
        burst,
        by,
    })
}

fn by_identity(requests: u32, per: Duration, burst: u32) -> Limiter {
    limiter(requests, per, burst, RateLimitBy::Identity)
}

/// SplitMix64: as good as a seeded hash.
fn hash(key: u64) -> u64 {
    let mut bits = key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Of a caller of the first group.
fn in_first_group(key: u64) -> u64 {
    (key << 40) | ((key % GROUP_CELLS as u64) * GROUPS)
}

#[test]
fn all_share_one_bucket() {
    let limiter = limiter(10, SECOND, 3, RateLimitBy::All);
    let granted = (0..10).filter(|key| limiter.take(hash(*key), START).is_ok());
    assert_eq!(granted.count(), 3);
    let limited = Limited {
        retry_after: Duration::from_millis(100),
        crowded: false,
    };
    assert_eq!(limiter.take(1, START), Err(limited));
    assert!(limiter.keyed.groups.get().is_none());
}

#[test]
fn each_caller_has_its_own() {
    let limiter = by_identity(10, SECOND, 3);
    for key in 0..100 {
        let granted = (0..10).filter(|_| limiter.take(hash(key), START).is_ok());
        assert_eq!(granted.count(), 3, "{key}");
    }
    let Err(limited) = limiter.take(hash(7), START) else {
        panic!("it has had its three")
    };
    // To a thousandth.
    let wait = limited.retry_after.as_secs_f64();
    assert!((0.1..0.1002).contains(&wait), "{wait}");
    let later = START + limited.retry_after;
    assert_eq!(limiter.take(hash(7), later), Ok(()));
    assert!(limiter.take(hash(7), later).is_err());
}

#[test]
fn who_finds_no_cell_shares_one() {
    let limiter = by_identity(1, SECOND, 2);
    let all: Vec<u64> = (1..=GROUP_CELLS as u64).map(in_first_group).collect();
    for by in &all {
        assert_eq!(limiter.take(*by, START), Ok(()));
    }
    // The second token of another one's two.
    let more = in_first_group(100);
    assert_eq!(limiter.take(more, START), Ok(()));
    let Err(limited) = limiter.take(more, START) else {
        panic!("there were two")
    };
    assert!(limited.crowded);
    let granted: Vec<_> = all
        .iter()
        .filter(|by| limiter.take(**by, START).is_ok())
        .collect();
    assert_eq!(granted.len(), GROUP_CELLS - 1);
    // Once buckets are full, there are free cells.
    let later = START + SECOND * 3;
    assert_eq!(limiter.take(more, later), Ok(()));
    assert_eq!(limiter.take(more, later), Ok(()));
    let limited = limiter.take(more, later).unwrap_err();
    assert!(!limited.crowded);
}

#[test]
fn endless_callers_have_what_the_table_has() {
    let limiter = by_identity(1, Duration::from_secs(60), 2);
    let (mut granted, mut crowded) = (0, 0);
    for key in 0..200_000 {
        match limiter.take(hash(key), START) {
            Ok(()) => granted += 1,
            Err(limited) => crowded += usize::from(limited.crowded),
        }
    }
    assert_eq!(granted, CELLS * 2);
    assert_eq!(granted + crowded, 200_000);
}

#[test]
fn a_clock_that_lags_gives_nothing() {
    let limiter = by_identity(1_000, SECOND, 5);
    let granted = |now| {
        (0..20)
            .filter(|_| limiter.take(hash(1), now).is_ok())
            .count()
    };
    assert_eq!(granted(START), 5);
    assert_eq!(granted(START - Duration::from_millis(900)), 0);
    assert_eq!(granted(START), 0);
}

#[test]
fn odd_limits() {
    for by in [RateLimitBy::All, RateLimitBy::Identity] {
        let never = limiter(0, SECOND, 5, by.clone());
        assert_eq!(never.take(1, START).unwrap_err().retry_after, SECOND);
        let at_once = limiter(u32::MAX, Duration::ZERO, u32::MAX, by.clone());
        let rare = limiter(1, Duration::MAX, u32::MAX, by.clone());
        let endless = limiter(u32::MAX, Duration::from_nanos(1), 0, by);
        for limiter in [at_once, rare, endless] {
            assert_eq!(limiter.take(0, START), Ok(()));
            assert_eq!(limiter.take(u64::MAX, Duration::MAX), Ok(()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Of callers whose tokens come in a whole number of ticks, against a table of all of them.
    #[test]
    fn it_is_a_bucket_for_each(
        interval in 1_u64..1_000,
        burst in 1_u32..20,
        steps in vec((0_u64..5, 0_u64..2_000, prop::bool::weighted(0.02)), 1..300),
    ) {
        let unit = |units: u64| Duration::from_nanos(units << 20);
        let limiter = by_identity(1, unit(interval), burst);
        let most = interval * u64::from(burst);
        // When tokens were counted last, and how many, in units that come one each.
        let mut tokens: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut now = 1_000_000;
        for (key, passed, long) in steps {
            // Often none at all; now and then days, in which the ticks start over.
            now += passed.saturating_sub(1_500) + if long { passed << 20 } else { 0 };
            let (at, count) = tokens.get(&key).copied().unwrap_or((0, most));
            let count = (count + (now - at)).min(most);
            let expected = match count >= interval {
                true => Ok(()),
                false => Err(Limited { retry_after: unit(interval - count), crowded: false }),
            };
            prop_assert_eq!(limiter.take(hash(key), unit(now)), expected);
            let left = if expected.is_ok() { count - interval } else { count };
            tokens.insert(key, (now, left));
        }
    }

    /// In no stretch of time has a caller more than the burst and the rate allow, whoever else
    /// there is.
    #[test]
    fn no_limit_is_exceeded(
        requests in 1_u32..5_000_000,
        per in 1_000_u64..10_000_000_000,
        burst in 1_u32..20,
        steps in vec((0_u64..20, 0_u64..1_000_000_000), 1..200),
    ) {
        let limiter = by_identity(requests, Duration::from_nanos(per), burst);
        let tick = 1_u128 << limiter.keyed.tick_bits;
        let mut granted: HashMap<u64, Vec<u128>> = HashMap::new();
        let mut now = START;
        for (key, passed) in steps {
            now += Duration::from_nanos(passed.saturating_sub(500_000_000));
            if limiter.take(in_first_group(key), now).is_ok() {
                granted.entry(key).or_default().push(now.as_nanos());
            }
        }
        for times in granted.values() {
            for (at, first) in times.iter().enumerate() {
                for (count, last) in (1_u128..).zip(&times[at..]) {
                    let elapsed = last - first + tick;
                    let allowed = elapsed * u128::from(requests) / u128::from(per);
                    prop_assert!(count <= u128::from(burst) + allowed);
                }
            }
        }
    }
}

/// Threads that want the same callers' tokens at the same times get no more than they have.
#[test]
fn threads_together_get_no_more() {
    const THREADS: usize = 4;
    const KEYS: u64 = 50;
    let limiter = by_identity(1_000, SECOND, 20);
    let granted: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::default()).collect();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for turn in 0..2_000 {
                    let now = START + Duration::from_micros(turn);
                    for (key, granted) in (0..KEYS).zip(&granted) {
                        let taken = limiter.take(hash(key), now).is_ok();
                        granted.fetch_add(u64::from(taken), Relaxed);
                    }
                }
            });
        }
    });
    for granted in granted {
        let granted = granted.load(Relaxed);
        // Two milliseconds bring two, or one and most of another.
        assert!((21..=22).contains(&granted), "{granted}");
    }
}
