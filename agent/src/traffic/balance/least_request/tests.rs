use std::{cell::RefCell, collections::VecDeque};

use proptest::prelude::*;

use super::pick;
use crate::traffic::{
    balance::{testing::shares, weights::Weights},
    hash::nth,
};

#[test]
fn the_less_busy_of_two() {
    let pick_of = |pending: [u32; 2], weights: [f64; 2]| {
        let weights = Weights::measured(2, |index| weights[index]);
        shares(2, 1_000, |n| {
            pick(&weights, nth(3, n), |index| pending[index])
        })
    };
    assert_eq!(pick_of([1, 0], [1.0, 1.0]), [0.0, 1.0]);
    assert_eq!(pick_of([3, 4], [1.0, 1.0]), [1.0, 0.0]);
    // Twice the weight bears twice the requests.
    assert_eq!(pick_of([3, 2], [2.0, 1.0]), [1.0, 0.0]);
    assert_eq!(pick_of([3, 1], [2.0, 1.0]), [0.0, 1.0]);
    assert_eq!(pick_of([9, 0], [1.0, 0.0]), [1.0, 0.0]);
    for tie in [pick_of([2, 2], [1.0, 1.0]), pick_of([4, 4], [5.0, 5.0])] {
        assert!((tie[0] - 0.5).abs() < 0.05, "{tie:?}");
    }
    let none = Weights::measured(2, |_| 0.0);
    assert_eq!(pick(&none, 7, |_| 0), None);
}

#[test]
fn idle_ones_get_their_share() {
    let weights = Weights::measured(3, |index| [1.0, 2.0, 7.0][index]);
    let got = shares(3, 50_000, |n| pick(&weights, nth(9, n), |_| 0));
    for (share, wanted) in got.iter().zip([0.1, 0.2, 0.7]) {
        assert!((share - wanted).abs() < 0.01, "{got:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A closed loop that keeps many requests under way, each ending after as many others: what is
    /// under way at an endpoint is in proportion to its weight.
    #[test]
    fn busy_ones_are_busy_by_weight(of in prop::collection::vec(0.5..4.0_f64, 2..6), seed: u64) {
        const UNDER_WAY: usize = 400;
        let total: f64 = of.iter().sum();
        let weights = Weights::measured(of.len(), |index| of[index]);
        let pending = RefCell::new(vec![0_u32; of.len()]);
        let mut queue = VecDeque::new();
        for n in 0..20 * UNDER_WAY as u64 {
            if queue.len() >= UNDER_WAY && let Some(ended) = queue.pop_front() {
                let ended: usize = ended;
                pending.borrow_mut()[ended] -= 1;
            }
            let index = pick(&weights, nth(seed, n), |index| pending.borrow()[index]).unwrap();
            pending.borrow_mut()[index] += 1;
            queue.push_back(index);
        }
        for (pending, weight) in pending.borrow().iter().zip(&of) {
            let wanted = weight / total * UNDER_WAY as f64;
            prop_assert!((f64::from(*pending) - wanted).abs() < 0.15 * wanted + 8.0, "{of:?}");
        }
    }
}
