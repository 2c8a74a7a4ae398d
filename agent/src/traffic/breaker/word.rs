//! What a breaker's healthy requests read: one word.

use super::Phase;

/// Phase, number of the phase and errors in a row, packed: what belongs to a phase that is over
/// cannot change the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) phase: Phase,
    /// Modulo [`EPOCHS`].
    pub(super) epoch: u32,
    /// Of the closed phase, up to the policy's `consecutiveErrors`.
    pub(super) errors: u32,
}

const EPOCHS: u32 = 1 << 30;

impl Word {
    pub(super) fn next(self, phase: Phase) -> Self {
        Self {
            phase,
            epoch: (self.epoch + 1) % EPOCHS,
            errors: 0,
        }
    }

    pub(super) fn pack(self) -> u64 {
        let phase = match self.phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
        };
        phase << 62 | u64::from(self.epoch) << 32 | u64::from(self.errors)
    }

    pub(super) fn unpack(word: u64) -> Self {
        Self {
            phase: match word >> 62 {
                0 => Phase::Closed,
                1 => Phase::Open,
                _ => Phase::HalfOpen,
            },
            epoch: (word >> 32) as u32 % EPOCHS,
            errors: word as u32,
        }
    }
}
