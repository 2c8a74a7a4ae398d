use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{ENDPOINT_POINTS, RING_POINTS_MAX, Ring, seed};
use crate::{
    model::service::Endpoint,
    traffic::{
        balance::testing::{endpoints, shares},
        hash::{mix, nth},
    },
};

const KEYS: u64 = 20_000;

/// The owner's address, of every key.
fn owners(endpoints: &[Endpoint], weight: impl Fn(usize) -> f64) -> Vec<Endpoint> {
    let ring = Ring::new(endpoints, weight);
    let owner = |key| endpoints[ring.order(mix(key)).next().unwrap()];
    (0..KEYS).map(owner).collect()
}

/// By the definition, without a sort: the owner of the point that is the least way after the key.
fn slow_owner(endpoints: &[Endpoint], hash: u64) -> usize {
    let points = (0..endpoints.len()).flat_map(|index| {
        let seed = seed(endpoints[index]);
        (0..ENDPOINT_POINTS as u64).map(move |n| (nth(seed, n).wrapping_sub(hash), index))
    });
    points.min().unwrap().1
}

#[test]
fn only_the_keys_of_who_leaves_move() {
    for count in [2, 3, 10, 60] {
        let all = endpoints(count);
        let before = owners(&all, |_| 1.0);
        let after = owners(&all[1..], |_| 1.0);
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == all[0]);
        }
    }
}

/// Past [`RING_POINTS_MAX`] everybody's points are fewer or more for a change.
#[test]
fn of_many_hardly_more_keys_move() {
    for count in [100, 655, 2_000] {
        let all = endpoints(count);
        let before = owners(&all, |_| 1.0);
        let after = owners(&all[1..], |_| 1.0);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        let moved = moved as f64 / KEYS as f64;
        assert!(moved < 2.5 / f64::from(count) + 0.005, "{count}: {moved}");
    }
}

#[test]
fn all_agents_agree() {
    let all = endpoints(7);
    let mut shuffled = all.clone();
    shuffled.reverse();
    shuffled.swap(1, 4);
    assert_eq!(owners(&all, |_| 1.0), owners(&shuffled, |_| 1.0));
    // In every version: this may never change.
    let ring = Ring::new(&all, |_| 1.0);
    let order: Vec<_> = ring.order(mix(1)).collect();
    assert_eq!(order, ORDER);
}

const ORDER: [usize; 7] = [6, 1, 5, 0, 2, 3, 4];

#[test]
fn shares_are_even_or_by_weight() {
    for count in [3, 10, 60] {
        let ring = Ring::new(&endpoints(count), |_| 1.0);
        let got = shares(count as usize, 100_000, |n| ring.order(mix(n)).next());
        let even = 1.0 / f64::from(count);
        for share in got {
            assert!((share / even - 1.0).abs() < 0.15, "{count}: {share} {even}");
        }
    }
    let of = [1.0, 2.0, 7.0, 0.0];
    let ring = Ring::new(&endpoints(4), |index| of[index]);
    let got = shares(4, 100_000, |n| ring.order(mix(n)).next());
    for (share, weight) in got.iter().zip(of) {
        assert!((share - weight / 10.0).abs() < 0.02, "{got:?}");
    }
}

#[test]
fn bounded() {
    assert_eq!(Ring::new(&[], |_| 1.0).order(7).next(), None);
    assert_eq!(Ring::new(&endpoints(3), |_| 0.0).order(7).next(), None);
    let uneven = |index: usize| if index == 0 { 1e9 } else { 1e-3 };
    for ring in [
        Ring::new(&endpoints(5_000), |_| 1.0),
        Ring::new(&endpoints(5_000), uneven),
    ] {
        assert!(ring.points.len() <= RING_POINTS_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn as_the_slow_one(count in 1_u32..9, hash: u64) {
        let all = endpoints(count);
        let ring = Ring::new(&all, |_| 1.0);
        prop_assert_eq!(ring.order(hash).next(), Some(slow_owner(&all, hash)));
        // The second is the one that would be first without the first, and so on.
        let mut left = all.clone();
        for index in ring.order(hash) {
            prop_assert_eq!(left[slow_owner(&left, hash)], all[index]);
            left.retain(|endpoint| *endpoint != all[index]);
        }
        prop_assert!(left.is_empty());
    }

    #[test]
    fn everybody_with_a_weight_once(
        of in prop::collection::vec(prop_oneof![Just(0.0), 0.001..1_000.0_f64], 0..100),
        hash: u64,
    ) {
        let ring = Ring::new(&endpoints(of.len() as u32), |index| of[index]);
        let order: Vec<_> = ring.order(hash).collect();
        let distinct: BTreeSet<_> = order.iter().copied().collect();
        let fit: BTreeSet<_> = (0..of.len()).filter(|index| of[*index] > 0.0).collect();
        prop_assert_eq!(order.len(), distinct.len());
        prop_assert_eq!(distinct, fit);
    }
}
