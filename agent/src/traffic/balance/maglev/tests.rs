use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Maglev, TABLE};
use crate::{
    model::service::Endpoint,
    traffic::{
        balance::{
            ring_hash::seed,
            testing::{endpoints, shares},
        },
        hash::{mix, nth},
    },
};

/// The paper's own pseudo-code for endpoints that weigh the same, in the order of `endpoints`.
fn slow_table(endpoints: &[Endpoint]) -> Vec<u16> {
    let permutation = |endpoint: &Endpoint| {
        let seed = seed(*endpoint);
        let (offset, skip) = (nth(seed, 0) % 65_537, nth(seed, 1) % 65_536 + 1);
        (0..65_537).map(move |j| ((offset + j * skip) % 65_537) as usize)
    };
    let mut permutations: Vec<_> = endpoints.iter().map(permutation).collect();
    let mut table = vec![u16::MAX; TABLE];
    let mut filled = 0;
    loop {
        for (index, permutation) in permutations.iter_mut().enumerate() {
            let free = permutation.find(|place| table[*place] == u16::MAX);
            table[free.unwrap()] = index as u16;
            filled += 1;
            if filled == TABLE {
                return table;
            }
        }
    }
}

/// Which share of the places has another owner, beside those of the first endpoint, which leaves.
fn moved_beside(all: &[Endpoint]) -> f64 {
    let before = Maglev::new(all, |_| 1.0);
    let after = Maglev::new(&all[1..], |_| 1.0);
    let places = before.table.iter().zip(&after.table);
    let moved = places.filter(|(before, after)| **before != 0 && **before != **after + 1);
    moved.count() as f64 / TABLE as f64
}

#[test]
fn as_in_the_paper() {
    for count in [1, 2, 3, 17] {
        let all = endpoints(count);
        let maglev = Maglev::new(&all, |_| 1.0);
        assert_eq!(*maglev.table, slow_table(&all), "{count}");
    }
}

#[test]
fn hardly_more_than_the_keys_of_who_leaves_move() {
    for count in [2, 3, 10, 60, 655] {
        let moved = moved_beside(&endpoints(count));
        assert!(moved < 0.01, "{count}: {moved}");
    }
}

#[test]
fn all_agents_agree() {
    let all = endpoints(7);
    let mut shuffled = all.clone();
    shuffled.reverse();
    shuffled.swap(1, 4);
    let (one, two) = (Maglev::new(&all, |_| 1.0), Maglev::new(&shuffled, |_| 1.0));
    for key in 0..1_000 {
        let of = |maglev: &Maglev, endpoints: &[Endpoint]| -> Vec<_> {
            maglev.order(mix(key)).map(|i| endpoints[i]).collect()
        };
        assert_eq!(of(&one, &all), of(&two, &shuffled));
    }
    // In every version: this may never change.
    let order: Vec<_> = one.order(mix(1)).collect();
    assert_eq!(order, ORDER);
}

const ORDER: [usize; 7] = [1, 4, 3, 6, 0, 2, 5];

#[test]
fn places_are_by_weight() {
    let of = [1.0, 2.0, 7.0, 0.0, 0.0005];
    let maglev = Maglev::new(&endpoints(5), |index| of[index]);
    let total: f64 = of.iter().sum();
    for (index, weight) in of.iter().enumerate() {
        let places = maglev.table.iter().filter(|at| usize::from(**at) == index);
        let off = places.count() as f64 - weight / total * TABLE as f64;
        assert!(off.abs() <= 1.0, "{index}: {off}");
    }
}

/// Those whose endpoint is unfit go to the others in equal parts.
#[test]
fn keys_of_an_unfit_one_are_spread() {
    let maglev = Maglev::new(&endpoints(5), |_| 1.0);
    let seconds = shares(5, 100_000, |n| {
        let mut order = maglev.order(mix(n));
        (order.next() == Some(2)).then(|| order.next())?
    });
    for (index, share) in seconds.iter().enumerate() {
        let wanted = if index == 2 { 0.0 } else { 0.05 };
        assert!((share - wanted).abs() < 0.005, "{seconds:?}");
    }
}

#[test]
fn none_of_none_and_some_of_too_many() {
    assert_eq!(Maglev::new(&[], |_| 1.0).order(7).next(), None);
    assert_eq!(Maglev::new(&endpoints(3), |_| 0.0).order(7).next(), None);
    let many = Maglev::new(&endpoints(70_000), |_| 1.0);
    assert!(many.order(7).next().is_some());
    assert_eq!(many.table.len(), TABLE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn everybody_with_a_weight_once(
        of in prop::collection::vec(prop_oneof![Just(0.0), 0.1..10.0_f64], 0..100),
        hash: u64,
    ) {
        let maglev = Maglev::new(&endpoints(of.len() as u32), |index| of[index]);
        let order: Vec<_> = maglev.order(hash).collect();
        let distinct: BTreeSet<_> = order.iter().copied().collect();
        let fit: BTreeSet<_> = (0..of.len()).filter(|index| of[*index] > 0.0).collect();
        prop_assert_eq!(order.len(), distinct.len());
        prop_assert_eq!(distinct, fit);
    }
}
