//! The agent's own log: `tracing` to stderr, filtered by `RUST_LOG`.

use std::{
    io::{self, IsTerminal},
    str::FromStr,
};

use thiserror::Error;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

/// What is logged without `RUST_LOG`.
const DEFAULT_FILTER: &str = "info";

/// How a log line looks (`--log-format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Text for a person at a terminal, JSON for whatever collects logs.
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

/// Why logging could not be started.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("--log-format {0:?} is unknown; say text or json")]
    Format(String),
    #[error(
        "RUST_LOG={filter:?} cannot be read: {source}; write a level, or target=level pairs such as info,weir::transport=debug"
    )]
    Filter { filter: String, source: ParseError },
    #[error("the log cannot be started: {0}; it may be started only once in a process")]
    Init(#[from] TryInitError),
}

/// Starts logging for the whole process. Records of crates that use `log` (aya's from the
/// kernel's programs among them) arrive in the same place.
///
/// # Errors
/// When `rust_log` cannot be parsed or logging was started before.
pub fn init(rust_log: Option<&str>, format: LogFormat) -> Result<(), LogError> {
    let filter = filter(rust_log)?;
    let lines = fmt::layer().with_writer(io::stderr).with_target(true);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines
            .with_ansi(io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    // `try_init` also sets up the bridge from `log`.
    tracing_subscriber::registry().with(lines).try_init()?;
    Ok(())
}

fn filter(rust_log: Option<&str>) -> Result<EnvFilter, LogError> {
    let text = rust_log
        .filter(|text| !text.trim().is_empty())
        .unwrap_or(DEFAULT_FILTER);
    EnvFilter::try_new(text).map_err(|source| LogError::Filter {
        filter: text.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
