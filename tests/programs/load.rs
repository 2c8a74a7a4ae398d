//! Connections at a steady rate, each with an echo, until standard input ends.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Outcome,
    io::{Dial, describe, tell},
};

/// Connections open at the same time. Beyond it the rate drops: a stall must not become a flood.
const OPEN_MAX: usize = 64;
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Failures that are told; all are counted.
const FAILURES_TOLD: usize = 20;

#[derive(Default)]
struct Counts {
    ok: u64,
    failed: u64,
    failures: Vec<String>,
}

pub(crate) fn run(addr: SocketAddr, per_second: u32) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    // Not in the scope below: a read of standard input cannot be called off.
    thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Relaxed);
        }
    });
    let (counts, open) = (Mutex::new(Counts::default()), AtomicUsize::new(0));
    let start = Instant::now();
    let mut reported = start;
    thread::scope(|scope| {
        for number in 0_u32.. {
            let due = start + Duration::from_secs(1) * number / per_second;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if open.fetch_add(1, Ordering::AcqRel) >= OPEN_MAX {
                open.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            scope.spawn(|| {
                count(&counts, start, once(addr));
                open.fetch_sub(1, Ordering::AcqRel);
            });
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                report(&counts);
            }
        }
    });
    report(&counts);
    Ok(())
}

fn once(addr: SocketAddr) -> Result<(), (&'static str, io::Error)> {
    let mut stream = Dial::default()
        .connect(addr)
        .map_err(|e| ("connect", e))?
        .stream;
    stream.write_all(b"ping").map_err(|e| ("send", e))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).map_err(|e| ("recv", e))?;
    Ok(())
}

fn count(counts: &Mutex<Counts>, start: Instant, result: Result<(), (&str, io::Error)>) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(()) => counts.ok += 1,
        Err((step, error)) => {
            counts.failed += 1;
            if counts.failures.len() < FAILURES_TOLD {
                let at = start.elapsed().as_millis();
                counts
                    .failures
                    .push(format!("{step}: {} at {at} ms", describe(&error)));
            }
        }
    }
}

fn report(counts: &Mutex<Counts>) {
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    tell(&json!({"ok": counts.ok, "failed": counts.failed, "failures": counts.failures}));
}
