//! `cargo xtask test`: everything that must hold before a change lands. One failure does not hide
//! another: it goes on, and the table at the end says what failed.

mod libtest;
mod report;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::build::{self, Profile};
use crate::layers;
use crate::process;
use crate::say::say;
use crate::setup::{self, BpfToolchain, TestTools};
use libtest::Counts;
use report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the scenarios whose name contains this, and no other check
    filter: Option<String>,
    /// How the agent that the scenarios run is compiled
    #[arg(long, value_enum, default_value_t = Profile::Fast)]
    profile: Profile,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut report = Report::default();
    let toolchain = report.step("setup: build", setup::for_build);
    let tools = report.step("setup: test", setup::for_test);
    let object = toolchain
        .as_ref()
        .and_then(|toolchain| report.step("bpf build", || build::bpf_object(toolchain)));

    if args.filter.is_none() {
        cheap_checks(
            &mut report,
            toolchain.as_ref(),
            tools.as_ref(),
            object.as_deref(),
        );
        report.tests("unit tests", || unit_tests(object.as_deref()));
    }
    let agent = object
        .as_ref()
        .and_then(|object| report.step("agent build", || build::agent(object, args.profile)));
    report.tests("scenarios", || match (&agent, &tools) {
        (Some(agent), Some(tools)) => scenarios(agent, tools, args.filter.as_deref()),
        _ => bail!("not run: what they need was not built"),
    });
    Ok(report.finish())
}

/// Checks that take seconds, once cargo has compiled what they look at.
fn cheap_checks(
    report: &mut Report,
    toolchain: Option<&BpfToolchain>,
    tools: Option<&TestTools>,
    object: Option<&Path>,
) {
    report.step("rustfmt", || {
        process::run(process::cargo().args(["fmt", "--all", "--check"]))
    });
    report.step("layers", layers::run);
    if let Some(tools) = tools {
        report.step("cargo-deny", || cargo_deny(tools));
    }
    report.step("clippy", || clippy(object));
    if let Some(toolchain) = toolchain {
        report.step("bpf clippy", || build::bpf_clippy(toolchain));
    }
}

fn clippy(object: Option<&Path>) -> Result<()> {
    let mut clippy = process::cargo();
    clippy.args([
        "clippy",
        "--workspace",
        "--exclude",
        "weir-ebpf",
        "--all-targets",
        "--locked",
    ]);
    clippy.args(["--", "-D", "warnings"]);
    process::run(embedding(object, &mut clippy))
}

/// The same object for every command: the agent is compiled anew when it changes.
fn embedding<'a>(object: Option<&Path>, cargo: &'a mut Command) -> &'a mut Command {
    match object {
        Some(object) => cargo.env("WEIR_BPF_OBJECT", object),
        None => cargo,
    }
}

/// Advisories need a database from the network: they are checked where somebody has fetched it.
fn cargo_deny(tools: &TestTools) -> Result<()> {
    let mut deny = Command::new(&tools.cargo_deny);
    deny.current_dir(crate::workspace::root()).args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]);
    if has_advisory_database() {
        deny.args(["advisories", "--disable-fetch"]);
    } else {
        say("advisories are not checked: no database here (`cargo deny fetch` gets it)");
    }
    process::run(&mut deny)
}

fn has_advisory_database() -> bool {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")));
    cargo_home.is_some_and(|home| home.join("advisory-dbs").is_dir())
}

fn unit_tests(object: Option<&Path>) -> Result<Counts> {
    let mut test = process::cargo();
    test.args([
        "test",
        "--workspace",
        "--exclude",
        "weir-tests",
        "--exclude",
        "weir-ebpf",
    ]);
    test.args(["--locked", "--no-fail-fast"]);
    libtest::run(embedding(object, &mut test))
}

/// The agent as a program among programs, on nodes made of network namespaces.
fn scenarios(agent: &Path, tools: &TestTools, filter: Option<&str>) -> Result<Counts> {
    if !rustix::process::geteuid().is_root() {
        bail!("not run: network namespaces and BPF need root; run `cargo xtask test` as root");
    }
    let mut test = process::cargo();
    test.args([
        "test",
        "--package",
        "weir-tests",
        "--locked",
        "--no-fail-fast",
    ])
    .env("WEIR_BIN", agent)
    .env("WEIR_ENVOY", &tools.envoy);
    if let Some(filter) = filter {
        test.args(["--", filter]);
    }
    let counts = libtest::run(&mut test)?;
    if counts.passed + counts.failed == 0 {
        match filter {
            Some(filter) => bail!("no scenario has `{filter}` in its name"),
            None => bail!("no scenario ran"),
        }
    }
    Ok(counts)
}
