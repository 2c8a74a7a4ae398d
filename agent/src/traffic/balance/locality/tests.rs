use proptest::prelude::*;

use super::{Near, Tier, local_share, pick, spills, tier, tiers};
use crate::{
    model::{service::Place, traffic_policy::Locality},
    traffic::hash::nth,
};

fn place(node: &str, zone: &str) -> Place {
    let known = |text: &str| (!text.is_empty()).then(|| text.into());
    Place {
        node: known(node),
        zone: known(zone),
        weight: None,
    }
}

const NEAR: Near<'static> = Near {
    node: "n1",
    zone: Some("a"),
};

#[test]
fn near_is_the_node_or_the_zone() {
    let places = [
        place("n1", "a"),
        place("n2", "a"),
        place("n3", "b"),
        place("n1", ""),
        place("", ""),
        place("", "a"),
    ];
    let all = |locality| tiers(locality, NEAR, &places);
    let rest = |indices: &[usize]| indices.to_vec();
    assert_eq!(
        all(Locality::PreferNode),
        [rest(&[0, 3]), rest(&[1, 5]), rest(&[2, 4])]
    );
    assert_eq!(
        all(Locality::PreferZone),
        [rest(&[]), rest(&[0, 1, 3, 5]), rest(&[2, 4])]
    );
    assert_eq!(
        all(Locality::None),
        [rest(&[]), rest(&[]), rest(&[0, 1, 2, 3, 4, 5])]
    );
}

#[test]
fn a_zone_that_is_not_known_is_nobody_s() {
    let near = Near { zone: None, ..NEAR };
    let at = |locality, place: &Place| tier(locality, near, place);
    assert_eq!(at(Locality::PreferZone, &place("n1", "a")), Tier::Rest);
    assert_eq!(at(Locality::PreferZone, &place("n2", "")), Tier::Rest);
    assert_eq!(at(Locality::PreferNode, &place("n1", "")), Tier::Node);
    assert_eq!(at(Locality::PreferNode, &place("n2", "a")), Tier::Rest);
}

#[test]
fn near_ones_get_everything_while_enough_are_fit() {
    for (fit, total, wanted) in [(10, 10, 1.0), (8, 10, 1.0), (5, 10, 0.7), (0, 10, 0.0)] {
        assert!((local_share(fit, total) - wanted).abs() < 1e-9);
    }
    assert_eq!(local_share(0, 0), 0.0);
    let share = |tiers, wanted| {
        let picks = (0..10_000).filter(|n| pick(tiers, nth(6, *n)) == Some(wanted));
        picks.count() as f64 / 10_000.0
    };
    for (tiers, wanted) in [
        ([(3, 4), (4, 4), (4, 4)], [1.0, 0.0, 0.0]),
        ([(1, 2), (4, 4), (4, 4)], [0.7, 0.3, 0.0]),
        ([(1, 4), (1, 4), (4, 4)], [0.35, 0.35, 0.3]),
        ([(0, 0), (0, 3), (1, 9)], [0.0, 0.0, 1.0]),
        // Half of everything cannot be borne, and is nevertheless.
        ([(1, 7), (0, 3), (3, 14)], [0.4, 0.0, 0.6]),
    ] {
        for (tier, wanted) in Tier::ALL.into_iter().zip(wanted) {
            let got = share(tiers, tier);
            assert!((got - wanted).abs() < 0.02, "{tiers:?} {tier:?} {got}");
        }
    }
    assert_eq!(pick([(0, 3), (0, 0), (0, 1)], 7), None);
}

#[test]
fn what_is_much_slower_is_left() {
    assert!(!spills(0.300, 0.100));
    assert!(spills(0.301, 0.100));
    // Short waits are no lack of capacity.
    assert!(!spills(0.100, 0.010));
    // Nothing is known of the far one.
    assert!(!spills(0.100, 0.0));
    assert!(spills(0.200, 0.0));
}

proptest! {
    #[test]
    fn only_where_something_is_fit(
        counts in prop::array::uniform3((0_usize..5, 0_usize..5)),
        random: u64,
    ) {
        let tiers = counts.map(|(fit, more)| (fit, fit + more));
        match pick(tiers, random) {
            Some(tier) => prop_assert!(tiers[tier as usize].0 > 0),
            None => prop_assert!(tiers.iter().all(|(fit, _)| *fit == 0)),
        }
    }
}
