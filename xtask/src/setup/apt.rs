//! Debian packages.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::say::Step;
use crate::workspace;

/// Installing nginx or Redis must not start it: Debian asks policy-rc.d, and 101 means no. The shell
/// removes the file again however the installation ends, but never one that the machine had.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"
"#;

/// Installs packages; with none to install it does nothing.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !is_usable() {
        bail!(
            "missing, and apt-get is not here to install it: {list} \
             (the names are Debian's; install what corresponds and run this again)"
        );
    }
    let mut command = shell_as_root(&list)?;
    command.args(["-c", INSTALL, "install"]).args(packages);

    let step = Step::start(format_args!("installing {list}"));
    process::run(&mut command)?;
    step.done(format_args!("installed {} packages", packages.len()));
    Ok(())
}

pub(super) fn is_usable() -> bool {
    workspace::find_program("apt-get").is_some()
}

/// Those of `packages` that dpkg does not have.
pub(super) fn not_installed(packages: &[&'static str]) -> Vec<&'static str> {
    // dpkg-query fails as soon as one of them is unknown, and still lists the others.
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    missing_from(&listed, packages)
}

fn missing_from(listed: &str, packages: &[&'static str]) -> Vec<&'static str> {
    let is_listed = |name: &str| {
        listed
            .lines()
            .any(|line| line == format!("{name} installed"))
    };
    packages
        .iter()
        .copied()
        .filter(|name| !is_listed(name))
        .collect()
}

fn shell_as_root(packages: &str) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new("sh"));
    }
    if workspace::find_program("sudo").is_none() {
        bail!(
            "installing packages needs root, and there is no sudo here; as root, run: \
             apt-get update && apt-get install --no-install-recommends {packages}"
        );
    }
    let mut command = Command::new("sudo");
    command.arg("sh");
    Ok(command)
}

#[cfg(test)]
mod tests;
