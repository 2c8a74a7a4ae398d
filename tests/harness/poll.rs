//! Waiting for something that is observed, never for time to pass.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives a value, for at most `deadline`.
pub fn wait_for<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// As [`wait_for`], for a probe that says why not: past the deadline its last word is the panic's.
#[track_caller]
pub fn eventually<T, E: Debug>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    let mut last = None;
    let found = wait_for(deadline, || match probe() {
        Ok(value) => Some(value),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    match (found, last) {
        (Some(value), _) => value,
        (None, last) => panic!("not within {deadline:?}: {what}; last seen: {last:?}"),
    }
}

/// Holds `probe` against `duration`: the way to show that something does *not* happen, which no
/// observation can shorten.
#[track_caller]
pub fn never<E: Debug>(what: &str, duration: Duration, mut probe: impl FnMut() -> Option<E>) {
    if let Some(seen) = wait_for(duration, &mut probe) {
        panic!("must not happen: {what}; seen: {seen:?}");
    }
}
