//! Times as atomics hold them.

use std::time::Duration;

/// Enough for five centuries; what is longer is as long.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
