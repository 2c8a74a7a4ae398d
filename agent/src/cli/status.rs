//! `weir status`

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
};

use super::{admin_client, output::Output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Services and endpoints that are well, too
    #[arg(long)]
    all: bool,

    /// The admin address of the agent to ask
    #[arg(long, value_name = "ADDR", default_value = admin_client::ADMIN_ADDR)]
    admin: SocketAddr,

    /// How it is told
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// 0 whatever the status is; 1 where no agent tells it.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = args.output.as_str();
    let target = format!("/debug/status?all={}&output={output}", args.all);
    let told = admin_client::block_on(admin_client::fetch(args.admin, &target))?;
    io::stdout().write_all(&told)?;
    Ok(ExitCode::SUCCESS)
}
