//! `cargo xtask bench`: what Weir costs beside no proxy and beside Envoy, all in one run. The measuring is
//! `tests/bench`; here is what it needs, and the page that its table goes into.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::process;
use crate::say::{Step, say};
use crate::setup;
use crate::workspace;

/// What is between these lines of `docs/performance.md` belongs to this command.
const TABLE_BEGIN: &str = "<!-- bench: begin -->";
const TABLE_END: &str = "<!-- bench: end -->";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer and shorter rounds: about five minutes instead of fifteen
    #[arg(long)]
    quick: bool,
    /// Also write the figures there, one row for each work, path and metric
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these, comma-separated: direct, weir-same, weir-cross, weir-same-policies,
    /// weir-cross-policies, envoy-one-hop, envoy-two-hop, envoy-hbone
    #[arg(long, value_name = "LIST")]
    paths: Option<String>,
    /// Only these, comma-separated: l4-req, l4-2k, l4-conn, l4-bulk, l4-idle, l7-req, l7-2k, l7-conn, l7-h2,
    /// l7-grpc, l7-pipeline, l7-features
    #[arg(long, value_name = "LIST")]
    works: Option<String>,
    /// How often each path does each work
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each measurement counts
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Record the proxies of the first round with `perf` into this folder, one file for each path and work
    #[arg(long, value_name = "DIR")]
    perf: Option<PathBuf>,
    /// Leave docs/performance.md as it is (as a run of some paths or works alone always does)
    #[arg(long)]
    no_docs: bool,
}

impl Args {
    /// A page of figures from a part of the paths, or from a run that was being profiled, would mislead.
    fn is_for_the_docs(&self) -> bool {
        !self.no_docs && self.paths.is_none() && self.works.is_none() && self.perf.is_none()
    }

    fn has_work(&self, name: &str) -> bool {
        let works = self.works.as_deref();
        works.is_none_or(|works| works.split(',').any(|work| work == name))
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces and eBPF need root: run `cargo xtask bench` as root");
    }
    let envoy = match env::var_os("WEIR_ENVOY") {
        Some(envoy) => envoy.into(),
        None => setup::for_test()?.envoy,
    };
    let weir = match env::var_os("WEIR_BIN") {
        Some(weir) => weir.into(),
        None => build::agent(&build::bpf_object(&setup::for_build()?)?, Profile::Release)?,
    };
    let markdown = workspace::target().join("bench.md");

    let mut bench = Command::new(load_program()?);
    bench.arg("run");
    bench.arg("--envoy").arg(envoy).arg("--weir").arg(weir);
    bench.arg("--commit").arg(commit()?);
    bench.arg("--markdown").arg(&markdown);
    if args.quick {
        bench.arg("--quick");
    }
    let mut pass = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            bench.args([flag, &value]);
        }
    };
    pass("--paths", args.paths.clone());
    pass("--works", args.works.clone());
    pass("--rounds", args.rounds.map(|rounds| rounds.to_string()));
    pass("--seconds", args.seconds.map(|seconds| seconds.to_string()));
    if let Some(json) = &args.json {
        bench.arg("--json").arg(json);
    }
    if let Some(dir) = &args.perf {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        bench.arg("--perf").arg(dir);
    }
    if args.has_work("l7-pipeline") {
        bench.arg("--pipeline").arg(pipeline(&[])?);
    }
    if args.has_work("l7-features") {
        bench.arg("--features").arg(pipeline(&["--features"])?);
    }
    process::run(&mut bench)?;
    if args.is_for_the_docs() {
        put_into_docs(&fs::read_to_string(&markdown)?)?;
    }
    Ok(())
}

/// `weir-bench`: load generator, sink and the one who drives them.
fn load_program() -> Result<PathBuf> {
    let step = Step::start("building the load generator");
    // Optimised as the agent is for tests: it must not be what is measured, and need not be the smallest. Without
    // the tests' TLS peers, which would take minutes to build.
    let selection = [
        "--package",
        "weir-tests",
        "--no-default-features",
        "--bin",
        "weir-bench",
    ];
    let mut build = process::cargo();
    build
        .args(["build", "--locked", "--profile", "fast"])
        .args(selection);
    process::run(&mut build)?;
    step.done("built the load generator");
    Ok(workspace::target().join("fast/weir-bench"))
}

/// What one request costs in allocations and instructions: a file of figures. Before anything else runs.
///
/// `of`: further words to the agent's own bench, after which the file is named.
fn pipeline(of: &[&str]) -> Result<PathBuf> {
    let step = Step::start("counting what one request costs");
    // As the load generator: these figures are compared with their own of other commits.
    let mut bench = process::cargo();
    bench.args(["bench", "--quiet", "--locked", "--profile", "fast"]);
    bench.args(["--package", "weir", "--bench", "pipeline", "--", "--json"]);
    let figures = process::output(bench.args(of))?;
    let file = workspace::target().join(format!("pipeline{}.jsonl", of.concat()));
    fs::write(&file, figures).with_context(|| format!("cannot write {}", file.display()))?;
    step.done("counted what one request costs");
    Ok(file)
}

fn commit() -> Result<String> {
    let git = |args: &[&str]| {
        process::output(
            Command::new("git")
                .current_dir(workspace::root())
                .args(args),
        )
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    // The page that this command writes does not make the binary another one.
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!docs",
    ])?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    Ok(format!("{}{dirty}", head.trim()))
}

fn put_into_docs(table: &str) -> Result<()> {
    let page = workspace::root().join("docs/performance.md");
    let text =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = replace_table(&text, table).with_context(|| {
        format!(
            "{} has no lines `{TABLE_BEGIN}` and `{TABLE_END}`",
            page.display()
        )
    })?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    say(format_args!("the table is in {}", page.display()));
    Ok(())
}

/// The page with another table; none when it has no place for one.
fn replace_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(TABLE_BEGIN)?;
    let (_, after) = rest.split_once(TABLE_END)?;
    Some(format!(
        "{before}{TABLE_BEGIN}\n\n{}\n\n{TABLE_END}{after}",
        table.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_changes() {
        let page = format!("# A\n\nwords\n\n{TABLE_BEGIN}\nold\n{TABLE_END}\n\nmore words\n");
        let new = replace_table(&page, "| new |\n").unwrap();
        assert_eq!(
            new,
            format!("# A\n\nwords\n\n{TABLE_BEGIN}\n\n| new |\n\n{TABLE_END}\n\nmore words\n")
        );
        assert_eq!(replace_table(&new, "| new |").unwrap(), new);
        assert_eq!(replace_table("no place", "| new |"), None);
    }
}
