//! `retries.budget`: retries are a share of what a service is asked anyway, so that they cannot
//! multiply its load while it fails (Finagle's `RetryBudget`).

use std::time::Duration;

use super::window::{Counts, Window};

/// Of the window over which the share is taken; it has [`super::window::SLOTS`] of them.
const SLOT: Duration = Duration::from_secs(1);

/// Of one service. Times are since any start that is one for all threads.
#[derive(Debug, Default)]
pub struct Budget {
    /// Requests, and the retries that they had.
    window: Window,
}

impl Budget {
    /// A request arrived, whatever the number of its tries.
    pub fn request(&self, now: Duration) {
        self.window.add(slot(now), Counts { all: 1, part: 0 });
    }

    /// Takes one retry: with it, retries are at most `percent` of the requests of the last ten
    /// seconds, or there are no more than `min_per_second` in the present one. `false`: the budget
    /// is spent.
    pub fn try_retry(&self, percent: u8, min_per_second: u32, now: Duration) -> bool {
        self.window.add_part_if(slot(now), |lately, present| {
            present.part < u64::from(min_per_second)
                || (lately.part + 1) * 100 <= lately.all * u64::from(percent)
        })
    }
}

fn slot(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests;
