use std::cell::Cell;

use proptest::prelude::*;

use super::Weights;
use crate::traffic::{balance::testing::shares, hash::nth};

#[test]
fn none_of_none() {
    assert_eq!(Weights::measured(0, |_| 1.0).draw(7), None);
    assert_eq!(Weights::measured(3, |_| 0.0).draw(7), None);
    assert_eq!(Weights::measured(3, |_| 0.0).pair(7), None);
    assert_eq!(Weights::new(3, 1.0, |_| f64::NAN).draw(7), None);
    assert_eq!(Weights::new(3, 1.0, |_| -1.0).draw(7), None);
}

#[test]
fn one_of_many_is_found() {
    let weights = Weights::new(10_000, 1.0, |index| f64::from(u8::from(index == 7_777)));
    for n in 0..100 {
        assert_eq!(weights.draw(nth(1, n)), Some(7_777));
        assert_eq!(weights.pair(nth(1, n)), Some((7_777, 7_777)));
    }
}

/// A choice among many costs as much as among few.
#[test]
fn few_weights_are_asked_for() {
    let asked = Cell::new(0);
    let weights = Weights::new(10_000, 1.0, |_| {
        asked.set(asked.get() + 1);
        1.0
    });
    for n in 0..1_000 {
        weights.pair(nth(1, n));
    }
    assert!(asked.get() <= 2_010, "{}", asked.get());
}

#[test]
fn the_second_is_in_proportion_among_the_rest() {
    let weights = Weights::measured(3, |index| [1.0, 2.0, 6.0][index]);
    // Without replacement: P(second = 0) = 2/9 · 1/7 + 6/9 · 1/3, and so on.
    let wanted = [16.0 / 63.0, 17.0 / 36.0, 23.0 / 84.0];
    let seconds = shares(3, 100_000, |n| Some(weights.pair(nth(5, n))?.1));
    for (share, wanted) in seconds.iter().zip(wanted) {
        assert!((share - wanted).abs() < 0.01, "{seconds:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whether the bound is exact or far above, and so most draws end in a sum.
    #[test]
    fn each_gets_its_share(
        of in prop::collection::vec(prop_oneof![Just(0.0), 0.01..10.0_f64], 1..12),
        slack in prop_oneof![Just(1.0), Just(50.0)],
        seed: u64,
    ) {
        let total: f64 = of.iter().sum();
        let heaviest = of.iter().copied().fold(0.0, f64::max) * slack;
        let weights = Weights::new(of.len(), heaviest, |index| of[index]);
        let got = shares(of.len(), 20_000, |n| weights.draw(nth(seed, n)));
        for (weight, share) in of.iter().zip(&got) {
            let wanted = if total > 0.0 { weight / total } else { 0.0 };
            prop_assert!((share - wanted).abs() < 0.02, "{of:?} {got:?}");
            prop_assert!(*weight > 0.0 || *share == 0.0);
        }
    }

    #[test]
    fn pairs_are_two(of in prop::collection::vec(0.0..10.0_f64, 2..50), random: u64) {
        let weights = Weights::measured(of.len(), |index| of[index]);
        if let Some((first, second)) = weights.pair(random) {
            prop_assert!(of[first] > 0.0 && of[second] > 0.0);
            let fit = of.iter().filter(|weight| **weight > 0.0).count();
            prop_assert!(first != second || fit == 1);
        }
    }
}
