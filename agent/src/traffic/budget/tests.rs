use std::{sync::Barrier, thread, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::Budget;

fn at_ms(ms: u64) -> Duration {
    Duration::from_secs(500) + Duration::from_millis(ms)
}

/// As the issue has it: 500 requests a second, of which every try fails.
#[test]
fn a_service_that_fails_altogether_is_asked_a_fifth_more() {
    let budget = Budget::default();
    let (mut requests, mut retries) = (0_u32, 0_u32);
    for ms in (0..30_000).step_by(2) {
        budget.request(at_ms(ms));
        requests += 1;
        for _ in 0..2 {
            retries += u32::from(budget.try_retry(20, 10, at_ms(ms)));
        }
    }
    let share = f64::from(retries) / f64::from(requests);
    assert!((0.15..=0.25).contains(&share), "{share}");
}

#[test]
fn a_quiet_service_has_its_minimum() {
    let budget = Budget::default();
    budget.request(at_ms(0));
    let granted = |ms| {
        (0..50)
            .filter(|_| budget.try_retry(20, 10, at_ms(ms)))
            .count()
    };
    assert_eq!(granted(0), 10);
    assert_eq!(granted(999), 0);
    assert_eq!(granted(1_000), 10);
}

#[test]
fn what_was_not_spent_is_lost_after_the_window() {
    let spend = |ms| {
        let budget = Budget::default();
        (0..1_000).for_each(|_| budget.request(at_ms(0)));
        (0..1_000)
            .filter(|_| budget.try_retry(20, 0, at_ms(ms)))
            .count()
    };
    assert_eq!(spend(0), 200);
    assert_eq!(spend(9_999), 200);
    assert_eq!(spend(10_000), 0);
}

#[test]
fn nothing_and_everything() {
    let budget = Budget::default();
    budget.request(at_ms(0));
    assert!(!budget.try_retry(0, 0, at_ms(0)));
    assert!(budget.try_retry(100, 0, at_ms(0)));
    assert!(!budget.try_retry(100, 0, at_ms(0)));
}

/// `None`: time passes by that much; else whether it is a retry.
fn steps() -> impl Strategy<Value = Vec<Result<bool, u64>>> {
    let step = prop_oneof![
        1 => (0_u64..4_000).prop_map(Err),
        8 => any::<bool>().prop_map(Ok),
    ];
    vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_grants_what_the_lists_do(
        steps in steps(),
        percent in 0_u8..=100,
        min_per_second in 0_u32..5,
    ) {
        let budget = Budget::default();
        let (mut requests, mut retries) = (Vec::<u64>::new(), Vec::<u64>::new());
        let mut ms = 0;
        for step in steps {
            let second = ms / 1_000;
            let lately = |times: &[u64]| {
                times.iter().filter(|at| *at / 1_000 + 10 > second).count() as u64
            };
            match step {
                Err(passed) => ms += passed,
                Ok(false) => {
                    budget.request(at_ms(ms));
                    requests.push(ms);
                }
                Ok(true) => {
                    let present = retries.iter().filter(|at| *at / 1_000 == second).count();
                    let share = lately(&requests) * u64::from(percent) / 100;
                    let expected = present < min_per_second as usize || lately(&retries) < share;
                    let granted = budget.try_retry(percent, min_per_second, at_ms(ms));
                    prop_assert_eq!(granted, expected);
                    retries.extend(granted.then_some(ms));
                }
            }
        }
    }
}

#[test]
fn threads_together_do_not_exceed_it() {
    const THREADS: usize = 4;
    let (budget, barrier) = (Budget::default(), Barrier::new(THREADS));
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    (0..5_000).for_each(|_| budget.request(at_ms(0)));
                    barrier.wait();
                    (0..5_000)
                        .filter(|_| budget.try_retry(20, 10, at_ms(0)))
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(granted, THREADS * 1_000);
}
