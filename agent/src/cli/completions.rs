//! `weir completions`

use std::io;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

#[derive(clap::Args)]
pub(super) struct Args {
    shell: Shell,
}

pub(super) fn run(args: &Args) {
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut io::stdout());
}
