//! What happened lately: two counts over the slots of a sliding window, without a lock.
//!
//! Each slot is one word of counts and the round of the ring that they belong to, so that who comes
//! first in a new round begins the slot anew.

use std::{
    array,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

/// Slots of a window: it covers the present one and the others before it.
pub(super) const SLOTS: u64 = 10;

const COUNT_BITS: u32 = 22;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const ROUND_MASK: u64 = (1 << (u64::BITS - 2 * COUNT_BITS)) - 1;

/// Of either count in one slot, past which both are halved: their ratio stays. What is left below
/// the field's end is for threads that add at the same time.
const COUNT_MAX: u64 = COUNT_MASK - (1 << 16);

/// Something that is counted, and something that is set against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) all: u64,
    pub(super) part: u64,
}

#[derive(Debug)]
pub(super) struct Window {
    /// Round, part, all.
    slots: [AtomicU64; SLOTS as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self {
            slots: array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Window {
    /// Adds to the slot of that number, the time divided by a slot's length. A number that comes
    /// later than the whole window costs a slot its counts, no more.
    pub(super) fn add(&self, number: u64, counts: Counts) {
        let slot = self.slot(number);
        let word = slot.load(Relaxed);
        let present = counts_of(word, number);
        let fits = present.is_some_and(|present| present.all.max(present.part) < COUNT_MAX);
        if fits {
            slot.fetch_add(pack(0, counts), Relaxed);
            return;
        }
        // Races are settled by the exchange: either round begins once.
        let _ = slot.fetch_update(AcqRel, Relaxed, |word| {
            let present = counts_of(word, number).unwrap_or_default();
            Some(pack(number, plus(halved(present), counts)))
        });
    }

    /// Adds to the slot's part if `may`, given what the window and what the slot hold. Whoever else
    /// adds to the slot meanwhile has it asked again.
    pub(super) fn add_part_if(&self, number: u64, may: impl Fn(Counts, Counts) -> bool) -> bool {
        let slot = self.slot(number);
        let added = slot.fetch_update(AcqRel, Relaxed, |word| {
            let present = counts_of(word, number).unwrap_or_default();
            let one = Counts { all: 0, part: 1 };
            may(plus(self.before(number), present), present)
                .then(|| pack(number, plus(halved(present), one)))
        });
        added.is_ok()
    }

    /// What the window that ends with that slot holds.
    pub(super) fn sum(&self, number: u64) -> Counts {
        let word = self.slot(number).load(Relaxed);
        let present = counts_of(word, number).unwrap_or_default();
        plus(self.before(number), present)
    }

    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Relaxed);
        }
    }

    /// All slots but the present one.
    fn before(&self, number: u64) -> Counts {
        let first = number.saturating_sub(SLOTS - 1);
        (first..number).fold(Counts::default(), |sum, number| {
            let word = self.slot(number).load(Relaxed);
            plus(sum, counts_of(word, number).unwrap_or_default())
        })
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.slots[(number % SLOTS) as usize]
    }
}

/// `None`: the slot is of another round.
fn counts_of(word: u64, number: u64) -> Option<Counts> {
    (word >> (2 * COUNT_BITS) == round(number)).then_some(Counts {
        all: word & COUNT_MASK,
        part: (word >> COUNT_BITS) & COUNT_MASK,
    })
}

fn pack(number: u64, counts: Counts) -> u64 {
    round(number) << (2 * COUNT_BITS) | counts.part << COUNT_BITS | counts.all
}

fn round(number: u64) -> u64 {
    (number / SLOTS) & ROUND_MASK
}

fn plus(a: Counts, b: Counts) -> Counts {
    Counts {
        all: a.all + b.all,
        part: a.part + b.part,
    }
}

fn halved(counts: Counts) -> Counts {
    match counts.all.max(counts.part) < COUNT_MAX {
        true => counts,
        false => Counts {
            all: counts.all / 2,
            part: counts.part / 2,
        },
    }
}

#[cfg(test)]
mod tests;
