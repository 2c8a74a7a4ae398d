//! `l7-pipeline`: one request through the agents' data plane in allocations and instructions, as the agent's own
//! bench counts them (`agent/benches/pipeline.rs`). `cargo xtask bench` runs that before anything else runs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::paths::PathKind;
use crate::report::Row;
use crate::run::Work;

const METRICS: [&str; 3] = ["allocations", "allocated_bytes", "instructions"];

/// One JSON object in each line: `{"path": …, "metric": …, "value": …}`.
pub(crate) fn rows(file: &Path) -> Result<Vec<Row>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines().map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let figure: Value = serde_json::from_str(line).with_context(|| format!("no figure: {line}"))?;
    let metric = figure["metric"].as_str().unwrap_or_default();
    Ok(Row {
        work: Work::L7Pipeline,
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
