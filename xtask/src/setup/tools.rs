//! Programs from the crate registry, each in a folder of its own under `.cache/tools` that bears its version: a
//! new version is a new folder, and what the user has installed for himself stays as it is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::say::Step;
use crate::workspace;

const BPF_LINKER_VERSION: &str = "0.13.0";
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Linked against the LLVM at `llvm_prefix`.
pub(super) fn bpf_linker(llvm_prefix: &Path) -> Result<PathBuf> {
    installed("bpf-linker", BPF_LINKER_VERSION, |install| {
        let mut path = vec![llvm_prefix.join("bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        install
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", llvm_prefix)
            .env("PATH", env::join_paths(path)?);
        Ok(())
    })
}

pub(super) fn cargo_deny() -> Result<PathBuf> {
    installed("cargo-deny", CARGO_DENY_VERSION, |install| {
        // It runs for two seconds: not worth the minutes that its own profile's optimisation takes.
        // Without its default features it links no second TLS stack, which would only fetch advisories.
        install
            .arg("--no-default-features")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        Ok(())
    })
}

fn installed(
    name: &str,
    version: &str,
    configure: impl FnOnce(&mut Command) -> Result<()>,
) -> Result<PathBuf> {
    let folder = workspace::cache()
        .join("tools")
        .join(format!("{name}-{version}"));
    let binary = folder.join("bin").join(name);
    if binary.is_file() {
        return Ok(binary);
    }
    let step = Step::start(format_args!("compiling {name} {version}, once"));
    let mut install = process::cargo();
    install
        .args(["install", name, "--locked", "--version", version, "--root"])
        .arg(&folder)
        // Its objects go to a temporary folder that cargo removes, not into Weir's.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS");
    configure(&mut install)?;
    process::run(&mut install)?;
    step.done(format_args!("installed {name} {version}"));
    Ok(binary)
}
