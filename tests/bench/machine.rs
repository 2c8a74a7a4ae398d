//! Where and with what a run was made.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Cores, processor, kernel.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim())
    });
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{} cores, {}, Linux {}",
        cores(),
        model.unwrap_or("unknown processor"),
        kernel.trim()
    )
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The first line that `program` prints about its version, on whichever stream.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else {
        return "unknown".into();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("unknown")
        .trim();
    // Envoy: `/path/to/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
    match line.rsplit_once("version: ") {
        Some((_, version)) if version.contains('/') => {
            version.split('/').nth(1).unwrap_or(version).to_owned()
        }
        Some((_, version)) => version.to_owned(),
        None => line.to_owned(),
    }
}

/// CPU time that the whole machine has spent not idling.
pub(crate) fn busy() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let fields = text
        .lines()
        .next()
        .context("empty /proc/stat")?
        .split_whitespace()
        .skip(1);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal: all but idle and iowait, in hundredths of a second.
    let busy: u64 = ticks
        .iter()
        .enumerate()
        .filter(|(i, _)| matches!(i, 0..=2 | 5..=7))
        .map(|(_, t)| t)
        .sum();
    Ok(Duration::from_millis(busy * 10))
}
