use super::chosen;
use crate::model::route::{BackendRef, Mirror};

#[test]
fn the_fraction_is_mirrored() {
    let hits = |numerator, denominator| {
        let mirror = Mirror {
            backend: BackendRef::Invalid("test".into()),
            numerator,
            denominator,
        };
        let step = u64::MAX / 1_000;
        (0..1_000)
            .filter(|i| chosen(&mirror, i * step + step / 2))
            .count()
    };
    assert_eq!(hits(0, 100), 0);
    assert_eq!(hits(42, 100), 420);
    assert_eq!(hits(1, 1_000), 1);
    assert_eq!(hits(100, 100), 1_000);
    assert_eq!(hits(3, 2), 1_000);
}
