//! `weir agent`

use std::process::ExitCode;

use crate::{app, settings::AgentSettings};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: AgentSettings,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    app::start_logging()?;
    app::run(&args.settings)?;
    Ok(ExitCode::SUCCESS)
}
