use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::{pick, pick_weighted};
use crate::traffic::balance::weights::Weights;

#[test]
fn each_in_turn() {
    let turn = AtomicUsize::new(usize::MAX - 1);
    assert_eq!(pick(&turn, 0), None);
    let turns: Vec<_> = (0..6).filter_map(|_| pick(&turn, 3)).collect();
    // The count wraps between the first and the second.
    assert_eq!(turns, [usize::MAX % 3, 0, 1, 2, 0, 1]);
}

fn turns(start: usize, count: usize, of: &[f64]) -> Vec<usize> {
    let turn = AtomicUsize::new(start);
    let weights = Weights::measured(of.len(), |index| of[index]);
    let turns = (0..count).filter_map(|_| pick_weighted(&turn, &weights));
    let turns = turns.collect();
    assert_eq!(turn.load(Ordering::Relaxed), start.wrapping_add(count));
    turns
}

#[test]
fn each_in_turn_where_all_weigh_the_same() {
    assert_eq!(turns(0, 5, &[2.0, 2.0, 2.0]), [0, 1, 2, 0, 1]);
    assert_eq!(turns(0, 5, &[2.0, 0.0, 2.0]), [0, 2, 0, 2, 0]);
    assert_eq!(turns(4, 2, &[0.0, 0.5]), [1, 1]);
    assert!(turns(0, 2, &[0.0, 0.0]).is_empty());
    assert!(turns(0, 2, &[]).is_empty());
}

#[test]
fn turns_of_a_heavy_one_are_spread() {
    for start in [0, 1_000_000, usize::MAX - 50] {
        let turns = turns(start, 1_000, &[9.0, 1.0]);
        let light: Vec<_> = (0..1_000).filter(|at| turns[*at] == 1).collect();
        assert!((95..=105).contains(&light.len()), "{}", light.len());
        let gaps: Vec<_> = light.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (5..=18).contains(gap)), "{gaps:?}");
    }
}

proptest! {
    #[test]
    fn each_gets_its_share_soon(
        of in prop::collection::vec(prop_oneof![Just(0.0), 0.1..10.0_f64], 1..10),
        start: usize,
        count in 50_usize..3_000,
    ) {
        let total: f64 = of.iter().sum();
        prop_assume!(total > 0.0);
        let turns = turns(start, count, &of);
        for (index, weight) in of.iter().enumerate() {
            let got = turns.iter().filter(|at| **at == index).count() as f64;
            // The discrepancy of the golden ratio's multiples grows with the logarithm.
            let off = got - weight / total * count as f64;
            prop_assert!(off.abs() < 2.0 + (count as f64).log2(), "{of:?} {index}: {off}");
        }
    }
}
