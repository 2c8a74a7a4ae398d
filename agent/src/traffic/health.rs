//! `healthCheck`: what the checks of one endpoint say, and when the next one is due.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::random::below;
use crate::model::traffic_policy::HealthCheck;

/// The part of the interval by which the time between two checks is at most longer or shorter:
/// agents that began together would check together ever after.
const JITTER: u32 = 10;

/// Whether an endpoint is healthy: many read it, one checks. An endpoint that was not checked yet
/// counts as healthy.
#[derive(Debug, Default)]
pub struct Health {
    /// [`UNHEALTHY`], and below it how many checks in a row say the opposite of that.
    state: AtomicU32,
}

const UNHEALTHY: u32 = 1 << 31;

impl Health {
    /// How a check ended. `Some` where that changes what the endpoint is: whether it is healthy now.
    pub fn record(&self, ok: bool, check: &HealthCheck) -> Option<bool> {
        let mut changed = None;
        let step = |state: u32| {
            let unhealthy = state & UNHEALTHY != 0;
            let threshold = if unhealthy {
                check.healthy
            } else {
                check.unhealthy
            };
            changed = None;
            if ok != unhealthy {
                return Some(state & UNHEALTHY);
            }
            let opposite = (state & !UNHEALTHY).saturating_add(1);
            if opposite < threshold.clamp(1, UNHEALTHY - 1) {
                return Some(state & UNHEALTHY | opposite);
            }
            changed = Some(unhealthy);
            Some(!state & UNHEALTHY)
        };
        // Infallible: each step has a next state.
        let _ = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        changed
    }

    /// As if it had never been checked. Says whether it was unhealthy.
    pub fn forget(&self) -> bool {
        self.state.swap(0, Ordering::Relaxed) & UNHEALTHY != 0
    }

    pub fn is_unhealthy(&self) -> bool {
        self.state.load(Ordering::Relaxed) & UNHEALTHY != 0
    }
}

/// When an endpoint's first check is due: at any time within the interval, so that the checks of many
/// are spread over it.
pub fn first_in(interval: Duration, random: u64) -> Duration {
    Duration::from_nanos(below(random, nanos(interval)))
}

/// From the start of one check to the next: the interval, give or take a tenth.
pub fn next_in(interval: Duration, random: u64) -> Duration {
    let jitter = interval / JITTER;
    let past_least = Duration::from_nanos(below(random, nanos(jitter.saturating_mul(2))));
    interval.saturating_sub(jitter).saturating_add(past_least)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
