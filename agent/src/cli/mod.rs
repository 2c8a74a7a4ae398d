//! The command line: one file per command.

mod admin_client;
mod agent;
mod check;
mod completions;
mod explain;
mod output;
mod status;
mod tap;
mod uninstall;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A service mesh agent for a node: eBPF capture, one shared proxy, mutual TLS.
#[derive(Parser)]
#[command(name = "weir", version = VERSION, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("WEIR_GIT_COMMIT"),
    ")"
);

#[derive(Subcommand)]
enum Command {
    /// Run the node agent
    Agent(Box<agent::Args>),
    /// Say what this node lacks, with remedies
    Check(check::Args),
    /// Check a folder of manifests as an agent would read it
    Validate(validate::Args),
    /// Say where a request would go, by which route, and why by no other
    Explain(Box<explain::Args>),
    /// Show a running agent's requests as they end
    Tap(Box<tap::Args>),
    /// Say how a running agent and the services that it reaches are
    Status(status::Args),
    /// Remove everything that an agent has left on this node
    Uninstall(uninstall::Args),
    /// Write a shell's completions to stdout
    Completions(completions::Args),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Agent(args) => agent::run(&args),
        Command::Check(args) => Ok(check::run(&args)),
        Command::Validate(args) => validate::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Tap(args) => tap::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
        Command::Completions(args) => {
            completions::run(&args);
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        // Every error says its cause itself.
        eprintln!("weir: {error}");
        ExitCode::FAILURE
    })
}
