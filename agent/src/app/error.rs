//! Why an agent does not start, or stops.

use std::io;

use thiserror::Error;

use crate::{datapath::DatapathError, identity::IdentityError, telemetry::logging::LogError};

#[derive(Debug, Error)]
pub enum AppError {
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    #[error(transparent)]
    Logging(#[from] LogError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot start the {name} thread: {source}; look at the process limits (ulimit -u)")]
    Thread {
        name: &'static str,
        source: io::Error,
    },
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error(
        "the thread that applies configuration ended; the log says why. Capture stays as it was: start the agent again"
    )]
    WriterGone,
}

impl AppError {
    pub(super) fn thread(name: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Thread { name, source }
    }
}
