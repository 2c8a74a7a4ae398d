//! Round robin: each endpoint in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Whose turn it is of `len`; `None` of none. `turn` is shared by all who choose from the same set.
pub fn pick(turn: &AtomicUsize, len: usize) -> Option<usize> {
    turn.fetch_add(1, Ordering::Relaxed).checked_rem(len)
}

#[cfg(test)]
mod tests;
