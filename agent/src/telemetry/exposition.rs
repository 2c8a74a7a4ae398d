//! The text that scrapers read, in the format that they ask for.

use std::fmt::Write;

use prometheus_client::{encoding::text, registry::Registry};

/// The two text formats. Prometheus asks for OpenMetrics since 2.5; `curl`, old scrapers and
/// several agents take the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Text,
}

impl Format {
    /// The format for an `Accept` header's value. OpenMetrics only for who names it: anything
    /// else, `*/*` included, gets the older one.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut open_metrics = 0.0;
        let mut text: f32 = 0.0;
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let mut quality: f32 = 1.0;
            let mut version_known = true;
            for parameter in parts {
                match parameter
                    .split_once('=')
                    .map(|(key, value)| (key.trim(), value.trim()))
                {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => {
                        version_known = ["0.0.1", "1.0.0"].contains(&value);
                    }
                    _ => {}
                }
            }
            match media_type.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" if version_known && quality > open_metrics => {
                    open_metrics = quality;
                }
                "text/plain" => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub(super) fn encode(registry: &Registry, format: Format) -> String {
    let mut open_metrics = String::new();
    if let Err(error) = text::encode(&mut open_metrics, registry) {
        // Writing to a String does not fail; a metric that cannot be encoded would be a defect.
        tracing::error!(%error, "metrics could not be encoded");
    }
    match format {
        Format::OpenMetrics => open_metrics,
        Format::Text => to_text_format(&open_metrics),
    }
}

/// OpenMetrics names a counter's or info's family without the suffix of its samples; the older
/// format has no families apart from their samples, and neither `info`, `UNIT` nor `EOF`.
fn to_text_format(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                continue;
            };
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(helped, _)| *helped == name) {
                let _ = writeln!(out, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests;
