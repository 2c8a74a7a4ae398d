//! Least request with the power of two choices: of two endpoints drawn by weight, the one with
//! fewer requests under way for its weight.

use super::weights::Weights;

/// `None` where none has any weight.
///
/// Idle ones are a tie, and the first one drawn gets the request: each gets its share by weight.
/// Under load it is the requests under way that come to be in proportion to the weights.
pub fn pick(
    weights: &Weights<impl Fn(usize) -> f64>,
    random: u64,
    pending: impl Fn(usize) -> u32,
) -> Option<usize> {
    let (first, second) = weights.pair(random)?;
    // first/w1 > second/w2, without the division.
    let load = |index: usize, other: usize| f64::from(pending(index)) * weights.of(other);
    Some(match load(second, first) < load(first, second) {
        true => second,
        false => first,
    })
}

#[cfg(test)]
mod tests;
