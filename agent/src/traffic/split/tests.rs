use proptest::prelude::*;

use super::pick;
use crate::traffic::testing::weighted;

/// Numbers that cover all of 64 bits evenly.
fn even(count: u64) -> impl Iterator<Item = u64> {
    let step = u64::MAX / count;
    (0..count).map(move |i| i * step + step / 2)
}

#[test]
fn weight_by_the_sum_of_all_is_the_share() {
    let rule = weighted(&[("v1", 70), ("off", 0), ("v2", 30)]);
    let mut hits = [0; 3];
    for random in even(1_000) {
        hits[pick(&rule, random).unwrap()] += 1;
    }
    assert_eq!(hits, [700, 0, 300]);
    assert_eq!(pick(&rule, 0), Some(0));
    assert_eq!(pick(&rule, u64::MAX), Some(2));
}

#[test]
fn nothing_to_choose_from() {
    for random in [0, u64::MAX] {
        assert_eq!(pick(&weighted(&[]), random), None);
        assert_eq!(pick(&weighted(&[("a", 0), ("b", 0)]), random), None);
        assert_eq!(pick(&weighted(&[("a", 0), ("b", 1)]), random), Some(1));
    }
}

proptest! {
    #[test]
    fn shares_are_exact_to_one_draw(weights in prop::collection::vec(0_u32..=1_000_000, 1..6)) {
        const DRAWS: u64 = 2_000;
        let names: Vec<String> = (0..weights.len()).map(|i| format!("b{i}")).collect();
        let backends: Vec<_> = names.iter().map(String::as_str).zip(weights.clone()).collect();
        let rule = weighted(&backends);
        let mut hits = vec![0_u64; weights.len()];
        for random in even(DRAWS) {
            match pick(&rule, random) {
                Some(index) => hits[index] += 1,
                None => prop_assert_eq!(rule.weights, 0),
            }
        }
        for (hits, weight) in hits.iter().zip(weights) {
            let share = (DRAWS * u64::from(weight)) as f64 / rule.weights.max(1) as f64;
            prop_assert!((*hits as f64 - share).abs() <= 1.0, "{hits} for {share}");
            prop_assert!(weight != 0 || *hits == 0);
        }
    }
}
