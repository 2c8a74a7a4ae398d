//! `loadBalancer.slowStart`: a new endpoint's share grows while its caches and connections do.

use std::time::Duration;

use crate::model::traffic_policy::SLOW_START_FLOOR_PERCENT;

/// By which the weight of an endpoint is multiplied that has been there for `age`: from
/// [`SLOW_START_FLOOR_PERCENT`] evenly to 1. At once where `window` is zero.
///
/// Not for ring-hash and maglev: keys would move with every step.
pub fn share(age: Duration, window: Duration) -> f64 {
    if age >= window {
        return 1.0;
    }
    let floor = f64::from(SLOW_START_FLOOR_PERCENT) / 100.0;
    floor + (1.0 - floor) * (age.as_secs_f64() / window.as_secs_f64())
}

#[cfg(test)]
mod tests;
