//! Random bits to random numbers.

/// Evenly from `0..bound`, 0 for the bound 0 (Lemire's multiplication). No value is likelier than
/// another by more than `bound` in 2^64.
pub(super) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}
