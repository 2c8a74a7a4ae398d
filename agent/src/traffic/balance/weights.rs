//! Candidates by their weights: one or two of them drawn by chance.
//!
//! Drawing asks for the weights of a few candidates and not of all: one is drawn evenly and kept
//! with the chance that its weight is of the heaviest (rejection sampling). Where that fails too
//! often, since few have a weight at all, the weights are summed.

use crate::traffic::{hash::nth, random::below};

/// Draws before the weights are summed.
const TRIES: u64 = 8;

/// Of `len` candidates, what share each shall have beside the others. A weight that is not above
/// zero keeps its candidate out.
#[derive(Clone, Copy, Debug)]
pub struct Weights<F> {
    len: usize,
    heaviest: f64,
    of: F,
}

impl<F: Fn(usize) -> f64> Weights<F> {
    /// `heaviest`: no weight is above it; where the caller does not know, [`Weights::measured`].
    pub fn new(len: usize, heaviest: f64, of: F) -> Self {
        Self { len, heaviest, of }
    }

    /// Asks for every weight once.
    pub fn measured(len: usize, of: F) -> Self {
        let heaviest = (0..len).map(&of).filter(|weight| weight.is_finite());
        let heaviest = heaviest.fold(0.0, f64::max);
        Self { len, heaviest, of }
    }

    /// How many there are, with and without weight.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Zero for what is below it, or no number.
    pub fn of(&self, index: usize) -> f64 {
        let weight = (self.of)(index);
        if weight > 0.0 {
            weight.min(f64::MAX)
        } else {
            0.0
        }
    }

    /// One by chance in proportion to its weight; `None` where none has any.
    pub fn draw(&self, random: u64) -> Option<usize> {
        self.draw_beside(random, None)
    }

    /// Two different ones, each in proportion to its weight, the second among those that the first
    /// left; twice the same where only one has any weight. `None` where none has.
    pub fn pair(&self, random: u64) -> Option<(usize, usize)> {
        let first = self.draw(random)?;
        let second = match self.len {
            1 => None,
            // Other random numbers than the first one's.
            _ => self.draw_beside(nth(random, TRIES), Some(first)),
        };
        Some((first, second.unwrap_or(first)))
    }

    fn draw_beside(&self, random: u64, other: Option<usize>) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        for n in 0..TRIES {
            let bits = nth(random, n);
            // Half of the bits for each: 2^32 is far more than there are endpoints.
            let index = below(bits << 32, self.len as u64) as usize;
            if Some(index) != other && fraction(bits) * self.heaviest < self.of(index) {
                return Some(index);
            }
        }
        self.draw_exactly(nth(random, TRIES), other)
    }

    fn draw_exactly(&self, random: u64, other: Option<usize>) -> Option<usize> {
        let candidates = || {
            let indices = (0..self.len).filter(|index| Some(*index) != other);
            let weighed = indices.map(|index| (index, self.of(index)));
            weighed.filter(|(_, weight)| *weight > 0.0)
        };
        let total: f64 = candidates().map(|(_, weight)| weight).sum();
        at(candidates(), fraction(random) * total)
    }
}

/// Where `point` falls when the weights are laid end to end; the last one where rounding, or a
/// weight that has changed meanwhile, leaves it past the end.
pub(super) fn at(weighed: impl Iterator<Item = (usize, f64)>, point: f64) -> Option<usize> {
    let mut left = point;
    let mut last = None;
    for (index, weight) in weighed {
        last = Some(index);
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

/// From 0 to, and without, 1: by the upper half of the bits.
pub(super) fn fraction(bits: u64) -> f64 {
    (bits >> 32) as f64 / (1_u64 << 32) as f64
}

#[cfg(test)]
mod tests;
