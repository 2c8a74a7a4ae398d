use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;

use super::{
    ASKED_AGAIN_AFTER, DECAY, Ewma, FIRST_ANSWERS, FLOOR_SECONDS, RTT_DEFAULT, p2c, pick,
    pick_weighted,
};
use crate::traffic::{
    balance::{testing::shares, weights::Weights},
    hash::nth,
};

const START: Duration = Duration::from_secs(1_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An endpoint that is known.
fn measured(rtt: Duration) -> Ewma {
    let mut ewma = Ewma::default();
    for _ in 0..FIRST_ANSWERS {
        ewma.record(rtt, START);
    }
    ewma
}

fn with_floor(seconds: f64) -> f64 {
    seconds + FLOOR_SECONDS
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn peaks_count_at_once_and_fade() {
    let mut ewma = measured(ms(10));
    assert!(near(ewma.cost(START, 0), with_floor(0.010)));
    ewma.record(ms(110), START);
    assert!(near(ewma.cost(START, 0), with_floor(0.060)));
    // A fast answer right after it says next to nothing; after a while, most.
    ewma.record(ms(10), START);
    assert!(near(ewma.cost(START, 0), with_floor(0.060)));
    let later = START + DECAY;
    ewma.record(ms(10), later);
    let kept = (-1.0_f64).exp();
    let expected = 0.060 * kept + 0.010 * (1.0 - kept);
    assert!(near(ewma.cost(later, 0), with_floor(expected)));
}

#[test]
fn cold_answers_are_not_held_against_an_endpoint() {
    let mut ewma = Ewma::default();
    for rtt in [500, 80, 10, 12, 11] {
        assert!(near(ewma.cost(START, 0), 0.0));
        ewma.record(ms(rtt), START);
    }
    assert!(near(ewma.cost(START, 0), with_floor(0.010)));
}

#[test]
fn pending_requests_cost_and_silence_forgives() {
    let ewma = measured(ms(10));
    assert!(near(ewma.cost(START, 3), 4.0 * with_floor(0.010)));
    let faded = with_floor(0.010 * (-1.0_f64).exp());
    assert!(near(ewma.cost(START + DECAY, 1), 2.0 * faded));
    // Idle for a while it is asked again, and its answer counts half at least.
    let almost = START + ASKED_AGAIN_AFTER - ms(1);
    assert!(ewma.cost(almost, 0) > FLOOR_SECONDS);
    let mut slow = measured(ms(500));
    let later = START + ASKED_AGAIN_AFTER;
    assert!(near(slow.cost(later, 0), 0.0));
    slow.record(ms(10), later);
    assert!(near(slow.cost(later, 0), with_floor(0.255)));
    // A clock that lags does not make it worse than it was.
    assert!(near(ewma.cost(START - ms(5), 0), with_floor(0.010)));
}

#[test]
fn a_new_endpoint_is_tried_but_not_flooded() {
    let (known, new) = (measured(ms(10)), Ewma::default());
    assert!(new.cost(START, 0) < known.cost(START, 0));
    assert!(new.cost(START, 1) > known.cost(START, 20));
    assert!(near(new.cost(START, 2), 2.0 * RTT_DEFAULT.as_secs_f64()));
    // Among new ones the least busy is preferred.
    assert!(new.cost(START, 1) < new.cost(START, 2));
}

#[test]
fn the_cheaper_of_two_near_ties_by_chance() {
    assert_eq!(pick(0, 7, |_| 0.0), None);
    assert_eq!(pick(1, 7, |_| 0.0), Some(0));
    let share = |costs: [f64; 2]| {
        let step = u64::MAX / 1_000;
        let firsts = (0..1_000).filter(|i| pick(2, i * step, |at| costs[at]) == Some(0));
        firsts.count()
    };
    assert_eq!(share([1.0, 2.0]), 1_000);
    assert_eq!(share([2.0, 1.0]), 0);
    for costs in [[1.0, 1.0], [1.0, 1.02], [1.02, 1.0], [0.0, 0.0]] {
        assert!((450..=550).contains(&share(costs)), "{costs:?}");
    }
}

#[test]
fn ties_are_tossed_for_by_weight() {
    let share = |of: [f64; 2], costs: [f64; 2]| {
        let weights = Weights::measured(2, |index| of[index]);
        let pick = |n| pick_weighted(&weights, nth(4, n), |index, _| costs[index]);
        shares(2, 20_000, pick)[1]
    };
    for (of, wanted) in [([9.0, 1.0], 0.1), ([1.0, 1.0], 0.5), ([0.0, 1.0], 1.0)] {
        let got = share(of, [1.0, 1.0]);
        assert!((got - wanted).abs() < 0.02, "{of:?}: {got}");
    }
    assert_eq!(share([9.0, 1.0], [2.0, 1.0]), 1.0);
    assert_eq!(share([1.0, 9.0], [1.0, 2.0]), 0.0);
    // The only one with any weight is taken whatever it costs.
    assert_eq!(share([0.0, 1.0], [1.0, 9.0]), 1.0);
}

#[test]
fn requests_under_way_count_by_weight() {
    let ewma = measured(ms(10));
    let pick_of = |pending: [u32; 2]| {
        let weights = Weights::measured(2, |index| [3.0, 1.0][index]);
        let pick = |n| {
            pick_weighted(&weights, nth(4, n), |index, more| {
                ewma.cost_beside(START, f64::from(pending[index]) * more)
            })
        };
        shares(2, 1_000, pick)[1]
    };
    assert_eq!(pick_of([9, 1]), 1.0);
    assert_eq!(pick_of([3, 2]), 0.0);
    let even = pick_of([30, 10]);
    assert!((even - 0.25).abs() < 0.05, "{even}");
}

#[test]
fn every_pair_is_drawn() {
    let mut state = 0_u64;
    let mut pairs = HashSet::new();
    for _ in 0..1_000 {
        // SplitMix64's increment, spread over both halves.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        pairs.insert(p2c(4, state ^ state.rotate_left(29)));
    }
    assert_eq!(pairs.len(), 12);
}

proptest! {
    #[test]
    fn two_different_ones(len in 2_usize..10_000, random: u64) {
        let (first, second) = p2c(len, random);
        prop_assert!(first < len && second < len && first != second);
        prop_assert_eq!(p2c(1, random), (0, 0));
        prop_assert_eq!(p2c(0, random), (0, 0));
    }

    /// Costs are ordered whatever was measured, and in whatever order.
    #[test]
    fn costs_are_finite(
        rtts in prop::collection::vec((0_u64..1_000_000, 0_u64..1_000_000), 0..20),
        now in 0_u64..2_000_000,
        pending in 0_usize..10_000,
    ) {
        let mut ewma = Ewma::default();
        let slowest = rtts.iter().map(|(rtt, _)| *rtt).max();
        for (rtt, at) in rtts {
            ewma.record(ms(rtt), ms(at));
        }
        let cost = ewma.cost(ms(now), pending);
        prop_assert!(cost.is_finite() && cost >= 0.0);
        if let Some(slowest) = slowest {
            let worst = with_floor(slowest as f64 / 1_000.0) * (pending as f64 + 1.0);
            prop_assert!(cost <= worst + 1e-9);
        }
    }
}
