//! From samples to rows: medians over the rounds, ratios to `direct` of the same round.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine;
use crate::paths::{Binaries, PathKind, backend};
use crate::run::{Sample, Samples, Work};

/// One figure, as the JSON has it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) work: Work,
    pub(crate) path: PathKind,
    pub(crate) metric: &'static str,
    pub(crate) value: f64,
}

pub(crate) struct Report {
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) versions: String,
    pub(crate) rounds: usize,
    pub(crate) counted: Duration,
    /// What other programs used of all cores during the rounds, 0 to 1.
    pub(crate) foreign_share: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) failures: Vec<String>,
}

/// What one round of one path says; `direct` is the same work in the same round.
type Figure = fn(sample: &Sample, direct: Option<&Sample>) -> Option<f64>;

fn rps(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    Some(sample.load.rps())
}

fn gbit_s(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    Some(sample.load.bytes as f64 * 8.0 / 1e9 / sample.load.seconds)
}

fn p50_us(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    Some(sample.load.p50_us)
}

fn p99_us(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    Some(sample.load.p99_us)
}

fn p50_added_us(sample: &Sample, direct: Option<&Sample>) -> Option<f64> {
    Some(sample.load.p50_us - direct?.load.p50_us)
}

fn p99_added_us(sample: &Sample, direct: Option<&Sample>) -> Option<f64> {
    Some(sample.load.p99_us - direct?.load.p99_us)
}

fn ratio_rps(sample: &Sample, direct: Option<&Sample>) -> Option<f64> {
    Some(sample.load.rps() / direct?.load.rps())
}

fn ratio_gbit(sample: &Sample, direct: Option<&Sample>) -> Option<f64> {
    Some(gbit_s(sample, None)? / gbit_s(direct?, None)?)
}

/// Of the open loop: p50 ÷ p50, so that less is better.
fn ratio_p50(sample: &Sample, direct: Option<&Sample>) -> Option<f64> {
    Some(sample.load.p50_us / direct?.load.p50_us)
}

fn cpu_us_per_request(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    has_proxy(sample)?;
    Some(sample.proxy_cpu.as_secs_f64() * 1e6 / sample.load.requests as f64)
}

fn cpu_s_per_gb(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    has_proxy(sample)?;
    Some(sample.proxy_cpu.as_secs_f64() / (sample.load.bytes as f64 / 1e9))
}

fn rss_mib(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    has_proxy(sample)?;
    Some(sample.rss_mib.iter().sum())
}

fn rss_mib_source(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    sample
        .rss_mib
        .first()
        .filter(|_| sample.rss_mib.len() > 1)
        .copied()
}

fn rss_mib_destination(sample: &Sample, _: Option<&Sample>) -> Option<f64> {
    sample.rss_mib.get(1).copied()
}

fn has_proxy(sample: &Sample) -> Option<()> {
    (!sample.rss_mib.is_empty()).then_some(())
}

fn figures(work: Work) -> &'static [(&'static str, Figure)] {
    match work {
        Work::Req => &[
            ("rps", rps),
            ("ratio_direct", ratio_rps),
            ("cpu_us_per_request", cpu_us_per_request),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
            ("rss_mib", rss_mib),
            ("rss_mib_source", rss_mib_source),
            ("rss_mib_destination", rss_mib_destination),
        ],
        Work::TwoK => &[
            ("rps", rps),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
            ("p50_added_us", p50_added_us),
            ("p99_added_us", p99_added_us),
            ("ratio_direct", ratio_p50),
            ("cpu_us_per_request", cpu_us_per_request),
        ],
        Work::Conn => &[
            ("rps", rps),
            ("ratio_direct", ratio_rps),
            ("cpu_us_per_request", cpu_us_per_request),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
        ],
        Work::Bulk => &[
            ("gbit_s", gbit_s),
            ("ratio_direct", ratio_gbit),
            ("cpu_s_per_gb", cpu_s_per_gb),
            ("rss_mib", rss_mib),
            ("rss_mib_source", rss_mib_source),
            ("rss_mib_destination", rss_mib_destination),
        ],
        Work::Idle => &[
            ("rss_mib", rss_mib),
            ("rss_mib_source", rss_mib_source),
            ("rss_mib_destination", rss_mib_destination),
        ],
    }
}

pub(crate) fn rows(samples: &Samples) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((work, path), rounds) in samples {
        let direct = samples.get(&(*work, PathKind::Direct));
        for (metric, figure) in figures(*work) {
            let value = |(round, sample): (usize, &Option<Sample>)| {
                let direct = direct.and_then(|rounds| rounds.get(round)?.as_ref());
                figure(sample.as_ref()?, direct)
            };
            if let Some(value) = median(rounds.iter().enumerate().filter_map(value).collect()) {
                rows.push(Row {
                    work: *work,
                    path: *path,
                    metric,
                    value,
                });
            }
        }
    }
    rows
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

pub(crate) fn versions(binaries: &Binaries) -> String {
    let of = |path: Option<&std::path::Path>| {
        path.map_or_else(|| "none".into(), |path| machine::version(path, "--version"))
    };
    let nginx = backend::nginx_binary()
        .map_or_else(|_| "none".into(), |path| machine::version(&path, "-v"));
    format!(
        "{}; Envoy {}; {nginx}",
        of(binaries.weir.as_deref()),
        of(binaries.envoy.as_deref())
    )
}

/// A column of the table: heading, work, metric, digits after the point.
const COLUMNS: [(&str, Work, &str, usize); 11] = [
    ("req/s ÷ direct", Work::Req, "ratio_direct", 2),
    ("CPU µs/request", Work::Req, "cpu_us_per_request", 1),
    ("2,000/s: p50 added µs", Work::TwoK, "p50_added_us", 0),
    ("p99 added µs", Work::TwoK, "p99_added_us", 0),
    ("CPU µs/request", Work::TwoK, "cpu_us_per_request", 0),
    ("new connection ÷ direct", Work::Conn, "ratio_direct", 2),
    ("CPU µs/connection", Work::Conn, "cpu_us_per_request", 0),
    ("bulk 1 stream ÷ direct", Work::Bulk, "ratio_direct", 2),
    ("CPU s/GB", Work::Bulk, "cpu_s_per_gb", 2),
    ("RSS MiB, source", Work::Req, "rss_mib_source", 1),
    ("RSS MiB, destination", Work::Req, "rss_mib_destination", 1),
];

impl Report {
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                // Three decimals are more than any of these is good for.
                let value = (row.value * 1_000.0).round() / 1_000.0;
                json!({"work": row.work.name(), "path": row.path.name(), "metric": row.metric, "value": value})
            })
            .collect();
        let mut text =
            json!({"commit": self.commit, "machine": self.machine, "rows": rows}).to_string();
        text.push('\n');
        text
    }

    fn value(&self, work: Work, path: PathKind, metric: &str) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| (row.work, row.path, row.metric) == (work, path, metric));
        row.map(|row| row.value)
    }

    fn cell(&self, work: Work, path: PathKind, metric: &str, digits: usize) -> String {
        self.value(work, path, metric)
            .map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = text.write_fmt(words);
            text.push('\n');
        };
        line(format_args!(
            "Commit {}. {}. {}. {} rounds of {:.1} s, medians; other programs used {:.0} % of the machine meanwhile.",
            self.commit,
            self.machine,
            self.versions,
            self.rounds,
            self.counted.as_secs_f64(),
            self.foreign_share * 100.0,
        ));
        line(format_args!(""));
        line(format_args!(
            "| path | {} |",
            COLUMNS.map(|column| column.0).join(" | ")
        ));
        line(format_args!("|---{}|", "|---".repeat(COLUMNS.len())));
        let named = |path: &PathKind| {
            *path != PathKind::Direct && self.rows.iter().any(|row| row.path == *path)
        };
        for path in PathKind::ALL.into_iter().filter(named) {
            let cells = COLUMNS.map(|(_, work, metric, digits)| {
                let whole = self.cell(work, path, metric, digits);
                // One process for both sides: its memory is in the first column.
                if metric == "rss_mib_source" && whole == "–" {
                    self.cell(work, path, "rss_mib", digits)
                } else {
                    whole
                }
            });
            line(format_args!("| {} | {} |", path.name(), cells.join(" | ")));
        }
        line(format_args!(""));
        let direct = |work, metric, digits| self.cell(work, PathKind::Direct, metric, digits);
        line(format_args!(
            "Direct: {} req/s at saturation; p50 {} µs and p99 {} µs at 2,000/s; {} new connections/s; {} Gbit/s.",
            direct(Work::Req, "rps", 0),
            direct(Work::TwoK, "p50_us", 0),
            direct(Work::TwoK, "p99_us", 0),
            direct(Work::Conn, "rps", 0),
            direct(Work::Bulk, "gbit_s", 1),
        ));
        let idle = |metric| self.cell(Work::Idle, PathKind::WeirCross, metric, 1);
        line(format_args!(
            "10,000 idle connections through weir-cross: {} MiB at the source's agent, {} MiB at the destination's.",
            idle("rss_mib_source"),
            idle("rss_mib_destination"),
        ));
        for failure in &self.failures {
            // The programs' last words were shown when it happened.
            line(format_args!(
                "\nFAILED {}",
                failure.lines().next().unwrap_or_default()
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests;
