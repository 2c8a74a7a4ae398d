//! `l7-pipeline` and `l7-features`: one request through the agents' data plane in allocations and instructions, as the agent's own
//! bench counts them (`agent/benches/pipeline.rs`). `cargo xtask bench` runs that before anything else runs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::paths::PathKind;
use crate::report::Row;
use crate::run::Work;

const METRICS: [&str; 4] = [
    "allocations",
    "allocated_bytes",
    "instructions",
    "cpu_us_per_request",
];

/// One JSON object in each line: `{"path": …, "metric": …, "value": …}`, and `"feature"` where features of a
/// TrafficPolicy are compared.
pub(crate) fn rows(file: &Path) -> Result<Vec<Row>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines().map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let figure: Value = serde_json::from_str(line).with_context(|| format!("no figure: {line}"))?;
    let metric = figure["metric"].as_str().unwrap_or_default();
    let feature = figure["feature"].as_str().map(str::to_owned);
    Ok(Row {
        work: match &feature {
            None => Work::L7Pipeline,
            Some(_) => Work::L7Features,
        },
        feature,
        path: PathKind::parse(figure["path"].as_str().unwrap_or_default())?,
        metric: METRICS
            .into_iter()
            .find(|known| *known == metric)
            .with_context(|| format!("no metric `{metric}`"))?,
        value: figure["value"].as_f64().context("no value")?,
    })
}

#[cfg(test)]
mod tests;
