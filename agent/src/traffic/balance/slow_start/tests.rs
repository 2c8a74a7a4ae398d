use std::time::Duration;

use proptest::prelude::*;

use super::share;

#[test]
fn evenly_from_the_floor() {
    let window = Duration::from_secs(60);
    for (age, wanted) in [(0, 0.1), (20, 0.4), (30, 0.55), (60, 1.0), (3_600, 1.0)] {
        let got = share(Duration::from_secs(age), window);
        assert!((got - wanted).abs() < 1e-9, "{age}: {got}");
    }
    assert_eq!(share(Duration::ZERO, Duration::ZERO), 1.0);
}

proptest! {
    #[test]
    fn never_less_when_older(age: u32, more: u32, window: u32) {
        let ms = |ms| Duration::from_millis(u64::from(ms));
        let (young, old) = (share(ms(age), ms(window)), share(ms(age) + ms(more), ms(window)));
        prop_assert!((0.1..=1.0).contains(&young) && young <= old && old <= 1.0);
    }
}
