//! `weir validate`

use std::{path::PathBuf, process::ExitCode};

use anyhow::anyhow;

use crate::sources::validate;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder of manifests
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// 0 when the agent would take all of it, 1 when not.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = validate::folder(&args.dir)
        .map_err(|error| anyhow!("cannot read the folder {}: {error}", args.dir.display()))?;
    for problem in &report.problems {
        println!("{problem}");
    }
    for conflict in &report.conflicts {
        println!("{conflict}");
    }
    for (kind, count) in &report.objects {
        println!("{count:>6} {kind:?}");
    }
    for (kind, count) in &report.idle {
        println!("{count:>6} {kind:?} (not acted upon by this version)");
    }
    if report.foreign > 0 {
        println!(
            "{:>6} of kinds that are not Weir's business",
            report.foreign
        );
    }
    let problems = report.problems.len() + report.conflicts.len();
    if problems == 0 {
        println!("valid");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("{problems} problems");
        Ok(ExitCode::FAILURE)
    }
}
