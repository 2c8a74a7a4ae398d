use std::{sync::Barrier, thread, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::TokenBucket;

const START: Duration = Duration::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_burst_and_then_the_rate() {
    let bucket = TokenBucket::default();
    let take = |now| bucket.take(10, SECOND, 3, START + now);
    for _ in 0..3 {
        assert_eq!(take(ms(0)), Ok(()));
    }
    assert_eq!(take(ms(0)), Err(ms(100)));
    assert_eq!(take(ms(40)), Err(ms(60)));
    assert_eq!(take(ms(100)), Ok(()));
    assert_eq!(take(ms(100)), Err(ms(100)));
    // A long silence fills it, and no more.
    let granted = (0..10).filter(|_| take(ms(60_000)).is_ok()).count();
    assert_eq!(granted, 3);
}

#[test]
fn odd_limits() {
    let full = TokenBucket::default();
    // A bucket holds one token at least.
    assert_eq!(full.take(1, SECOND, 0, START), Ok(()));
    assert_eq!(full.take(1, SECOND, 0, START), Err(SECOND));
    // Another limit acts on what was taken under the one before.
    assert_eq!(full.take(1_000, SECOND, 2_000, START), Ok(()));
    let never = TokenBucket::default();
    assert_eq!(never.take(0, SECOND, 1, START), Err(SECOND));
    let huge = TokenBucket::default();
    for _ in 0..1_000 {
        assert_eq!(huge.take(u32::MAX, SECOND, u32::MAX, START), Ok(()));
    }
    assert!(huge.take(1, Duration::MAX, u32::MAX, Duration::MAX).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Against a count of tokens, each a million units that come by the nanosecond.
    #[test]
    fn it_is_a_bucket_of_tokens(
        requests in 1_u32..1_000,
        burst in 1_u32..50,
        steps in vec(0_u64..50_000_000, 1..300),
    ) {
        // Of a length of which a token's time is a whole number.
        let per = Duration::from_nanos(u64::from(requests) * 1_000_000);
        let bucket = TokenBucket::default();
        let (token, most) = (1_000_000, u64::from(burst) * 1_000_000);
        let (mut tokens, mut now) = (most, START);
        for passed in steps {
            // Half of them at the same time as another.
            let passed = passed.saturating_sub(25_000_000);
            now += Duration::from_nanos(passed);
            tokens = (tokens + passed).min(most);
            let expected = match tokens >= token {
                true => {
                    tokens -= token;
                    Ok(())
                }
                false => Err(Duration::from_nanos(token - tokens)),
            };
            prop_assert_eq!(bucket.take(requests, per, burst, now), expected);
        }
    }

    /// In any stretch of time no more than the burst and the rate allow.
    #[test]
    fn no_limit_is_exceeded(
        requests: u32,
        per in 1_u64..10_000_000_000,
        burst in 1_u32..20,
        steps in vec(0_u64..1_000_000_000, 1..100),
    ) {
        let per = Duration::from_nanos(per);
        let bucket = TokenBucket::default();
        let mut granted = Vec::new();
        let mut now = START;
        for passed in steps {
            now += Duration::from_nanos(passed);
            granted.extend(bucket.take(requests, per, burst, now).is_ok().then_some(now));
        }
        for (at, first) in granted.iter().enumerate() {
            for (count, last) in (1_u128..).zip(&granted[at..]) {
                let elapsed = (*last - *first).as_nanos();
                let allowed = u128::from(burst) + elapsed * u128::from(requests) / per.as_nanos();
                prop_assert!(count <= allowed, "{} of {}", count, allowed);
            }
        }
    }
}

#[test]
fn threads_together_get_no_more() {
    const THREADS: usize = 4;
    let (bucket, barrier) = (TokenBucket::default(), Barrier::new(THREADS));
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    // Ten tokens' time passes, for all of them alike.
                    let times = (0..10_000).map(|turn| START + Duration::from_micros(turn));
                    times
                        .filter(|now| bucket.take(1_000, SECOND, 100, *now).is_ok())
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(granted, 100 + 9);
}
