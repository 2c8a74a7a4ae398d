//! Random: each endpoint with the chance that is its share of all weights.

use super::weights::Weights;

/// `None` where none has any weight.
pub fn pick(weights: &Weights<impl Fn(usize) -> f64>, random: u64) -> Option<usize> {
    weights.draw(random)
}

#[cfg(test)]
mod tests;
