//! Threads of a closed loop and the clock that they share.

use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, bail};

use super::{LoadArgs, Measured, say};

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

/// Which part of the run it is. The main thread alone reads the clock; a worker looks here.
pub(crate) struct Phase(AtomicU8);

impl Phase {
    pub(crate) fn is_counting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == COUNTING
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }
}

/// Splits the connections over as many threads as cores, like wrk in the figures that this is compared with.
/// `work` gets its share of them and answers what it counted, with the latencies in nanoseconds.
pub(crate) fn drive(
    args: &LoadArgs,
    work: impl Fn(usize, &Phase) -> Result<(Measured, Vec<u32>)> + Sync,
) -> Result<Measured> {
    let phase = Phase(AtomicU8::new(WARMING));
    let threads = std::thread::available_parallelism()?
        .get()
        .min(args.connections);
    let (phase, work) = (&phase, &work);
    let (mut total, latencies) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| (args.connections + thread) / threads)
            .map(|share| scope.spawn(move || work(share, phase)))
            .collect();
        std::thread::sleep(args.warm_up());
        phase.0.store(COUNTING, Ordering::Relaxed);
        say("start");
        std::thread::sleep(args.counted);
        phase.0.store(OVER, Ordering::Relaxed);
        say("end");
        let mut total = Measured::default();
        let mut latencies = Vec::new();
        for worker in workers {
            let Ok(done) = worker.join() else {
                bail!("a load thread panicked")
            };
            let (measured, mut part) = done?;
            total.absorb(measured);
            latencies.append(&mut part);
        }
        Ok((total, latencies))
    })?;
    total.seconds = args.counted.as_secs_f64();
    total.quantiles(latencies);
    Ok(total)
}
