use std::sync::atomic::AtomicUsize;

use super::pick;

#[test]
fn each_in_turn() {
    let turn = AtomicUsize::new(usize::MAX - 1);
    assert_eq!(pick(&turn, 0), None);
    let turns: Vec<_> = (0..6).filter_map(|_| pick(&turn, 3)).collect();
    // The count wraps between the first and the second.
    assert_eq!(turns, [usize::MAX % 3, 0, 1, 2, 0, 1]);
}
