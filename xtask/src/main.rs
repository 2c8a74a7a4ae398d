//! `cargo xtask COMMAND`: what a person or CI does with this repository. One file per command.

mod bench;
mod build;
mod demo;
mod layers;
mod process;
mod say;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set up, build, test and measure Weir"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing on this machine: packages, bpf-linker, cargo-deny, Envoy
    Setup(setup::Args),
    /// Build the BPF programs and the agent that carries them
    Build(build::Args),
    /// Run every check: format, lints, layers, licences, unit tests, scenarios on simulated nodes
    Test(test::Args),
    /// Measure Weir beside no proxy and beside Envoy; the table goes into docs/performance.md
    Bench(bench::Args),
    /// Show the mesh at work on two simulated nodes, beside the same without it
    Demo(demo::Args),
    /// Check that the agent's modules import only what they may
    Layers,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup(args) => setup::run(&args)?,
        Command::Build(args) => build::run(&args)?,
        Command::Test(args) => return test::run(&args),
        Command::Bench(args) => bench::run(&args)?,
        Command::Demo(args) => demo::run(&args)?,
        Command::Layers => layers::run()?,
    }
    Ok(ExitCode::SUCCESS)
}
