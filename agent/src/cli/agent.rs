//! `weir agent`

use std::process::ExitCode;

use crate::{
    app,
    settings::AgentSettings,
    telemetry::logging::{self, LogFormat},
};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: AgentSettings,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let rust_log = std::env::var("RUST_LOG").ok();
    logging::init(rust_log.as_deref(), LogFormat::for_stderr())?;
    app::run(&args.settings)?;
    Ok(ExitCode::SUCCESS)
}
