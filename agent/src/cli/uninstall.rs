//! `weir uninstall`

use std::{fs, io, path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::app::preflight;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The bpffs folder of the agent
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/weir")]
    bpffs: PathBuf,

    /// Remove the agent's state as well: the embedded CA's root and key
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if preflight::uninstall(&args.bpffs)? {
        println!("removed capture and pins at {}", args.bpffs.display());
    } else {
        println!("nothing of weir at {}", args.bpffs.display());
    }
    if let Some(state) = &args.state {
        match fs::remove_dir_all(state) {
            Ok(()) => println!("removed {}", state.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => bail!("cannot remove {}: {error}", state.display()),
        }
    }
    Ok(ExitCode::SUCCESS)
}
