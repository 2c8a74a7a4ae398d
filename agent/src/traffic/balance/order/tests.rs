use std::collections::HashSet;

use proptest::prelude::*;

use super::Seen;

proptest! {
    #[test]
    fn as_a_set(indices in prop::collection::vec(0_usize..200, 0..300)) {
        let (mut seen, mut set) = (Seen::default(), HashSet::new());
        for index in indices {
            prop_assert_eq!(seen.insert(index, 200), set.insert(index));
        }
    }
}
