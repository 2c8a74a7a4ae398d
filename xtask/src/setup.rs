//! `cargo xtask setup`: from a machine with git, a C compiler and cargo to one that can build and test
//! Weir. What is there already costs a look at a file; nothing that the machine had is replaced.

mod apt;
mod bpf;
mod envoy;
mod tools;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

pub(crate) use bpf::BpfToolchain;

use crate::say::Step;
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the machine is for; everything when none is named
    #[arg(value_enum)]
    purposes: Vec<Purpose>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Compile the BPF programs and the agent
    Build,
    /// Lint, check licences, run the scenarios
    Test,
    /// Run the demo
    Demo,
}

/// A program that scenarios or the demo start, and the Debian package that brings it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

const TEST_PROGRAMS: &[Program] = &[
    program("curl", "curl"),
    program("h2load", "nghttp2-client"),
    program("ip", "iproute2"),
    program("nginx", "nginx-light"),
    program("openssl", "openssl"),
    program("redis-cli", "redis-tools"),
    program("redis-server", "redis-server"),
];

/// Modules of `/usr/bin/python3` that the gRPC and WebSocket programs import.
const TEST_MODULES: &[&str] = &["python3-grpcio", "python3-websockets"];

const DEMO_PROGRAMS: &[Program] = &[
    program("curl", "curl"),
    program("ip", "iproute2"),
    program("nginx", "nginx-light"),
    program("openssl", "openssl"),
    program("redis-benchmark", "redis-tools"),
    program("redis-cli", "redis-tools"),
    program("redis-server", "redis-server"),
    program("wrk", "wrk"),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let step = Step::quiet();
    let purposes = match args.purposes.as_slice() {
        [] => Purpose::value_variants(),
        named => named,
    };
    if purposes.contains(&Purpose::Build) {
        for_build()?;
    }
    if purposes.contains(&Purpose::Test) {
        for_test()?;
    }
    if purposes.contains(&Purpose::Demo) {
        for_demo()?;
    }
    step.done("setup: everything is there");
    Ok(())
}

/// What compiles the BPF programs.
pub(crate) fn for_build() -> Result<BpfToolchain> {
    bpf::toolchain()
}

/// What the checks and scenarios start.
pub(crate) struct TestTools {
    pub(crate) cargo_deny: PathBuf,
    pub(crate) envoy: PathBuf,
}

pub(crate) fn for_test() -> Result<TestTools> {
    let mut missing = missing_packages(TEST_PROGRAMS);
    missing.extend(apt::not_installed(TEST_MODULES));
    missing.extend(bpf::lint_packages());
    apt::install(&missing)?;
    Ok(TestTools {
        cargo_deny: tools::cargo_deny()?,
        envoy: envoy::binary()?,
    })
}

/// What the demo starts.
pub(crate) fn for_demo() -> Result<()> {
    apt::install(&missing_packages(DEMO_PROGRAMS))
}

/// By program, not by package: what a machine has from elsewhere will do.
fn missing_packages(programs: &[Program]) -> Vec<&'static str> {
    programs
        .iter()
        .filter(|program| workspace::find_program(program.name).is_none())
        .map(|program| program.package)
        .collect()
}
