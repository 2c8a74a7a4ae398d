//! Round robin: each endpoint in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::weights::{Weights, at, fraction};
use crate::traffic::hash::GOLDEN;

/// Whose turn it is of `len`; `None` of none. `turn` is shared by all who choose from the same set.
pub fn pick(turn: &AtomicUsize, len: usize) -> Option<usize> {
    turn.fetch_add(1, Ordering::Relaxed).checked_rem(len)
}

/// As [`pick`] among those with any weight where these weigh the same. Else each gets its share of
/// the turns, spread over them. Asks for every weight.
///
/// There is nothing to keep but the turn: its multiples of the golden ratio fall as evenly on the
/// line from 0 to 1 as any sequence does, so that a share of the line is met as often as it is long,
/// and never twice in a short while (the three-gap theorem; Knuth, TAOCP 3, 6.4).
pub fn pick_weighted(
    turn: &AtomicUsize,
    weights: &Weights<impl Fn(usize) -> f64>,
) -> Option<usize> {
    let fit = || {
        let weighed = (0..weights.len()).map(|index| (index, weights.of(index)));
        weighed.filter(|(_, weight)| *weight > 0.0)
    };
    let (mut count, mut total) = (0_usize, 0.0);
    let (mut lightest, mut heaviest) = (f64::MAX, 0.0_f64);
    for (_, weight) in fit() {
        (count, total) = (count + 1, total + weight);
        (lightest, heaviest) = (lightest.min(weight), heaviest.max(weight));
    }
    let turn = turn.fetch_add(1, Ordering::Relaxed);
    if lightest < heaviest {
        // The product wraps together with the count: nothing jumps there.
        let point = fraction((turn as u64).wrapping_mul(GOLDEN));
        at(fit(), point * total)
    } else {
        fit().nth(turn.checked_rem(count)?).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
