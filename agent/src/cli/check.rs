//! `weir check`

use std::{path::PathBuf, process::ExitCode};

use crate::app::preflight::{self, Outcome};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The bpffs folder that the agent would use
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/weir")]
    bpffs: PathBuf,

    /// The cgroup2 folder that the agent would hook [default: cgroup2's root]
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
}

/// 0 when an agent would run here, 1 when something is missing.
pub(super) fn run(args: &Args) -> ExitCode {
    let checks = preflight::run(&args.bpffs, args.cgroup.as_deref());
    let mut missing_count = 0;
    for check in &checks {
        match &check.outcome {
            Outcome::Fine(found) => println!("ok       {:<14} {found}", check.name),
            Outcome::Missing { found, remedy } => {
                missing_count += 1;
                println!(
                    "MISSING  {:<14} {found}\n         remedy: {remedy}",
                    check.name
                );
            }
        }
    }
    if missing_count == 0 {
        println!("this node can run weir");
        ExitCode::SUCCESS
    } else {
        println!("{missing_count} of {} are missing", checks.len());
        ExitCode::FAILURE
    }
}
