//! From samples to rows: medians over the rounds, ratios to `direct` of the same round.

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
    /// Of [`Work::L7Features`]: which.
    pub(crate) feature: Option<String>,
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
        Work::Req | Work::L7Req | Work::L7Http2 | Work::L7Grpc => &[
            ("rps", rps),
            ("ratio_direct", ratio_rps),
            ("cpu_us_per_request", cpu_us_per_request),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
            ("rss_mib", rss_mib),
            ("rss_mib_source", rss_mib_source),
            ("rss_mib_destination", rss_mib_destination),
        ],
        Work::TwoK | Work::L7TwoK => &[
            ("rps", rps),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
            ("p50_added_us", p50_added_us),
            ("p99_added_us", p99_added_us),
            ("ratio_direct", ratio_p50),
            ("cpu_us_per_request", cpu_us_per_request),
        ],
        Work::Conn | Work::L7Conn => &[
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
        // Counted, not sampled: its rows come from `pipeline`.
        Work::L7Pipeline | Work::L7Features => &[],
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
                    feature: None,
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

/// A column of a table: heading, work, metric, digits after the point.
type Column = (&'static str, Work, &'static str, usize);

const L4_COLUMNS: [Column; 11] = [
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

const L7_COLUMNS: [Column; 13] = [
    ("req/s ÷ direct", Work::L7Req, "ratio_direct", 2),
    ("CPU µs/request", Work::L7Req, "cpu_us_per_request", 1),
    ("2,000/s: p50 added µs", Work::L7TwoK, "p50_added_us", 0),
    ("p99 added µs", Work::L7TwoK, "p99_added_us", 0),
    ("CPU µs/request", Work::L7TwoK, "cpu_us_per_request", 0),
    ("new connection ÷ direct", Work::L7Conn, "ratio_direct", 2),
    ("CPU µs/connection", Work::L7Conn, "cpu_us_per_request", 0),
    ("HTTP/2 req/s ÷ direct", Work::L7Http2, "ratio_direct", 2),
    ("CPU µs/request", Work::L7Http2, "cpu_us_per_request", 1),
    ("gRPC calls/s ÷ direct", Work::L7Grpc, "ratio_direct", 2),
    ("CPU µs/call", Work::L7Grpc, "cpu_us_per_request", 1),
    ("RSS MiB, source", Work::L7Req, "rss_mib_source", 1),
    (
        "RSS MiB, destination",
        Work::L7Req,
        "rss_mib_destination",
        1,
    ),
];

/// What `direct` did, for a sense of scale: before the figure, work, metric, after it.
type Scale = (&'static str, Work, &'static str, &'static str);

const L4_DIRECT: [Scale; 5] = [
    ("", Work::Req, "rps", " req/s at saturation"),
    ("p50 ", Work::TwoK, "p50_us", " µs at 2,000/s"),
    ("p99 ", Work::TwoK, "p99_us", " µs"),
    ("", Work::Conn, "rps", " new connections/s"),
    ("", Work::Bulk, "gbit_s", " Gbit/s"),
];

const L7_DIRECT: [Scale; 6] = [
    ("", Work::L7Req, "rps", " req/s at saturation"),
    ("p50 ", Work::L7TwoK, "p50_us", " µs at 2,000/s"),
    ("p99 ", Work::L7TwoK, "p99_us", " µs"),
    ("", Work::L7Conn, "rps", " new connections/s"),
    ("", Work::L7Http2, "rps", " req/s over HTTP/2"),
    ("", Work::L7Grpc, "rps", " gRPC calls/s"),
];

const PIPELINE_COLUMNS: [Column; 3] = [
    ("allocations", Work::L7Pipeline, "allocations", 1),
    ("bytes allocated", Work::L7Pipeline, "allocated_bytes", 0),
    ("instructions", Work::L7Pipeline, "instructions", 0),
];

/// Heading, metric, digits after the point.
const FEATURE_COLUMNS: [(&str, &str, usize); 4] = [
    ("allocations", "allocations", 1),
    ("bytes allocated", "allocated_bytes", 0),
    ("instructions", "instructions", 0),
    ("CPU µs", "cpu_us_per_request", 1),
];

impl Report {
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                // Three decimals are more than any of these is good for.
                let value = (row.value * 1_000.0).round() / 1_000.0;
                let mut figure =
                    json!({"work": row.work.name(), "path": row.path.name(), "metric": row.metric, "value": value});
                if let Some(feature) = &row.feature {
                    figure["feature"] = json!(feature);
                }
                figure
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
        let mut text = format!(
            "Commit {}. {}. {}. {} rounds of {:.1} s, medians; other programs used {:.0} % of the machine meanwhile.\n",
            self.commit,
            self.machine,
            self.versions,
            self.rounds,
            self.counted.as_secs_f64(),
            self.foreign_share * 100.0,
        );
        let mut part = |lines: Vec<String>| {
            if !lines.is_empty() {
                text.push('\n');
                text.push_str(&lines.join("\n"));
                text.push('\n');
            }
        };
        part(self.table("L4: path", &L4_COLUMNS));
        part(self.of_direct(&L4_DIRECT));
        part(self.idle());
        part(self.table("L7: path", &L7_COLUMNS));
        part(self.of_direct(&L7_DIRECT));
        part(self.table("one request", &PIPELINE_COLUMNS));
        part(self.features());
        for failure in &self.failures {
            // The programs' last words were shown when it happened.
            let first = failure.lines().next().unwrap_or_default();
            part(vec![format!("FAILED {first}")]);
        }
        text
    }

    /// A line for each proxied path that has any of these figures; nothing where none has.
    fn table(&self, corner: &str, columns: &[Column]) -> Vec<String> {
        let has = |path: &PathKind| {
            let mut columns = columns.iter();
            columns.any(|(_, work, metric, _)| self.value(*work, *path, metric).is_some())
        };
        let is_proxied = |path: &PathKind| *path != PathKind::Direct;
        let row = |path: PathKind| {
            let cell = |(_, work, metric, digits): &Column| {
                let whole = self.cell(*work, path, metric, *digits);
                // One process for both sides: its memory is in the first column.
                if *metric == "rss_mib_source" && whole == "–" {
                    self.cell(*work, path, "rss_mib", *digits)
                } else {
                    whole
                }
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            format!("| {} | {} |", path.name(), cells.join(" | "))
        };
        let rows: Vec<String> = PathKind::ALL
            .into_iter()
            .filter(is_proxied)
            .filter(has)
            .map(row)
            .collect();
        if rows.is_empty() {
            return rows;
        }
        let headings: Vec<&str> = columns.iter().map(|column| column.0).collect();
        let mut lines = vec![
            format!("| {corner} | {} |", headings.join(" | ")),
            format!("|---{}|", "|---".repeat(columns.len())),
        ];
        lines.extend(rows);
        lines
    }

    /// What a request costs with each feature, and how much more than with none.
    fn features(&self) -> Vec<String> {
        let of_features = || self.rows.iter().filter(|row| row.feature.is_some());
        let value = |feature: &str, metric: &str| {
            let mut rows = of_features();
            rows.find(|row| row.feature.as_deref() == Some(feature) && row.metric == metric)
                .map(|row| row.value)
        };
        let Some(none) = of_features().next().and_then(|row| row.feature.clone()) else {
            return Vec::new();
        };
        let mut features: Vec<&str> = of_features()
            .filter_map(|row| row.feature.as_deref())
            .collect();
        features.dedup();
        let headings = FEATURE_COLUMNS.map(|(heading, ..)| heading).join(" | ");
        let mut lines = vec![
            format!("| one request with | {headings} |"),
            format!("|---{}|", "|---".repeat(FEATURE_COLUMNS.len())),
        ];
        for feature in features {
            let cells = FEATURE_COLUMNS.map(|(_, metric, digits)| {
                match (value(feature, metric), value(&none, metric)) {
                    (Some(value), Some(_)) if *feature == none => format!("{value:.digits$}"),
                    (Some(value), Some(of_none)) => {
                        format!("{value:.digits$} ({:+.digits$})", value - of_none)
                    }
                    _ => "–".into(),
                }
            });
            lines.push(format!("| {feature} | {} |", cells.join(" | ")));
        }
        lines
    }

    fn of_direct(&self, scales: &[Scale]) -> Vec<String> {
        let figure = |(before, work, metric, after): &Scale| {
            let value = self.value(*work, PathKind::Direct, metric)?;
            let digits = usize::from(value < 100.0);
            Some(format!("{before}{value:.digits$}{after}"))
        };
        let figures: Vec<String> = scales.iter().filter_map(figure).collect();
        if figures.is_empty() {
            return figures;
        }
        vec![format!("Direct: {}.", figures.join("; "))]
    }

    fn idle(&self) -> Vec<String> {
        let of = |metric| self.value(Work::Idle, PathKind::WeirCross, metric);
        let (Some(source), Some(destination)) = (of("rss_mib_source"), of("rss_mib_destination"))
        else {
            return Vec::new();
        };
        vec![format!(
            "10,000 idle connections through weir-cross: {source:.1} MiB at the source's agent, {destination:.1} MiB at the destination's."
        )]
    }
}

#[cfg(test)]
mod tests;
