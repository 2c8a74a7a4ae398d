use std::time::Duration;

use proptest::prelude::*;

use super::{Health, first_in, next_in};
use crate::model::traffic_policy::{HealthCheck, HealthCheckBy};

fn check(healthy: u32, unhealthy: u32) -> HealthCheck {
    HealthCheck {
        by: HealthCheckBy::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        healthy,
        unhealthy,
    }
}

#[test]
fn as_many_in_a_row_as_the_policy_says() {
    let (health, check) = (Health::default(), check(2, 3));
    assert!(!health.is_unhealthy());
    let changes: Vec<_> = [
        false, false, true, false, false, false, false, true, false, true, true, true,
    ]
    .into_iter()
    .map(|ok| health.record(ok, &check))
    .collect();
    let mut wanted = vec![None; 12];
    wanted[5] = Some(false);
    wanted[10] = Some(true);
    assert_eq!(changes, wanted);
    assert!(!health.is_unhealthy());
}

#[test]
fn a_threshold_of_none_is_one() {
    let (health, check) = (Health::default(), check(0, 0));
    assert_eq!(health.record(false, &check), Some(false));
    assert!(health.is_unhealthy());
    assert_eq!(health.record(true, &check), Some(true));
}

#[test]
fn checks_are_spread() {
    let interval = Duration::from_secs(10);
    assert_eq!(first_in(interval, 0), Duration::ZERO);
    assert_eq!(first_in(interval, u64::MAX / 2 + 1), interval / 2);
    assert_eq!(next_in(interval, 0), Duration::from_secs(9));
    assert_eq!(next_in(interval, u64::MAX / 2 + 1), interval);
}

proptest! {
    /// Against the sentence in the policy: the state is that of the last run of enough checks.
    #[test]
    fn as_the_slow_one(
        results in prop::collection::vec(any::<bool>(), 0..60),
        healthy in 1_u32..5,
        unhealthy in 1_u32..5,
    ) {
        let (health, check) = (Health::default(), check(healthy, unhealthy));
        let mut slow = true;
        for at in 0..results.len() {
            let needed = if slow { unhealthy } else { healthy } as usize;
            let since = (at + 1).checked_sub(needed);
            let changes = since.is_some_and(|since| results[since..=at].iter().all(|ok| *ok != slow));
            slow ^= changes;
            prop_assert_eq!(health.record(results[at], &check), changes.then_some(slow));
            prop_assert_eq!(health.is_unhealthy(), !slow);
        }
    }

    #[test]
    fn times_are_within_bounds(seconds in 1_u64..1_000_000, random: u64) {
        let interval = Duration::from_secs(seconds);
        prop_assert!(first_in(interval, random) < interval);
        let next = next_in(interval, random);
        prop_assert!(next >= interval / 10 * 9 && next <= interval / 10 * 11);
        prop_assert!(next_in(Duration::MAX, random) > Duration::ZERO);
    }
}
