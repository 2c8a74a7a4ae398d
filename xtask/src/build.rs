//! `cargo xtask build`: the BPF programs, then the agent with them inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::process;
use crate::say::Step;
use crate::setup::{self, BpfToolchain};
use crate::workspace;

const BPF_TARGET: &str = "bpfel-unknown-none";
/// Line tables and types: the agent's kernel reads the BTF that bpf-linker makes of them.
const BPF_RUSTFLAGS: &str = "-C debuginfo=2 -C link-arg=--btf";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How the agent is compiled
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As it ships: link-time optimisation over everything
    Release,
    /// Optimised, but quick to compile again
    Fast,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Fast => "fast",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = setup::for_build()?;
    let object = bpf_object(&toolchain)?;
    agent(&object, args.profile)?;
    Ok(())
}

/// Compiles the BPF programs and returns the object's path.
pub(crate) fn bpf_object(toolchain: &BpfToolchain) -> Result<PathBuf> {
    let step = Step::start("building the BPF programs");
    let mut build = bpf_cargo(toolchain);
    build.arg("build");
    if matches!(toolchain, BpfToolchain::Nightly { .. }) {
        build.args(["-Z", "build-std=core"]);
    }
    process::run(build.args(bpf_selection()))?;

    let object = bpf_target_dir().join(BPF_TARGET).join("bpf/weir-ebpf");
    let size = fs::metadata(&object)
        .with_context(|| format!("the build left no {}", object.display()))?
        .len();
    step.done(format_args!(
        "built {}, {} KiB",
        object.display(),
        size / 1024
    ));
    Ok(object)
}

/// Lints the BPF programs with the clippy of the compiler that builds them.
pub(crate) fn bpf_clippy(toolchain: &BpfToolchain) -> Result<()> {
    let mut clippy = match toolchain {
        // By its own path: `cargo clippy` would take rustup's, of another compiler, from PATH.
        BpfToolchain::Debian { .. } => {
            let mut clippy = Command::new("/usr/bin/cargo-clippy");
            set_debian_compiler(&mut clippy);
            clippy
        }
        BpfToolchain::Nightly { .. } => nightly_cargo(),
    };
    set_bpf_environment(&mut clippy, toolchain);
    clippy.arg("clippy");
    if matches!(toolchain, BpfToolchain::Nightly { .. }) {
        clippy.args(["-Z", "build-std=core"]);
    }
    process::run(clippy.args(bpf_selection()).args(["--", "-D", "warnings"]))
}

/// Compiles the agent around `object` and returns the program's path.
pub(crate) fn agent(object: &Path, profile: Profile) -> Result<PathBuf> {
    let step = Step::start(format_args!("building the agent ({})", profile.name()));
    let mut build = process::cargo();
    build
        .args([
            "build",
            "--package",
            "weir",
            "--locked",
            "--profile",
            profile.name(),
        ])
        .env("WEIR_BPF_OBJECT", object);
    process::run(&mut build)?;

    let weir = workspace::target().join(profile.name()).join("weir");
    let size = fs::metadata(&weir)
        .with_context(|| format!("the build left no {}", weir.display()))?
        .len();
    step.done(format_args!(
        "built {}, {:.1} MiB",
        weir.display(),
        size as f64 / (1 << 20) as f64
    ));
    Ok(weir)
}

fn bpf_cargo(toolchain: &BpfToolchain) -> Command {
    let mut cargo = match toolchain {
        BpfToolchain::Debian { .. } => {
            let mut cargo = Command::new("/usr/bin/cargo");
            set_debian_compiler(&mut cargo);
            cargo
        }
        BpfToolchain::Nightly { .. } => nightly_cargo(),
    };
    set_bpf_environment(&mut cargo, toolchain);
    cargo
}

fn set_debian_compiler(command: &mut Command) {
    command
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC", "/usr/bin/rustc")
        // The programs use unstable features (BPF assembly); Debian's compiler is a stable one.
        .env("RUSTC_BOOTSTRAP", "1");
}

fn nightly_cargo() -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo"])
        .env_remove("CARGO")
        .env_remove("RUSTC");
    command
}

/// What the outer cargo exports is about another compiler: none of it may leak in here.
fn set_bpf_environment(command: &mut Command, toolchain: &BpfToolchain) {
    const FOREIGN: [&str; 7] = [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "LD_LIBRARY_PATH",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
    ];
    for name in FOREIGN {
        command.env_remove(name);
    }
    command
        .current_dir(workspace::root())
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", toolchain.linker())
        .env("RUSTFLAGS", BPF_RUSTFLAGS)
        // A folder of its own: no waiting for the lock of whoever builds the agent meanwhile.
        .env("CARGO_TARGET_DIR", bpf_target_dir());
}

fn bpf_selection() -> [&'static str; 7] {
    [
        "--package",
        "weir-ebpf",
        "--locked",
        "--profile",
        "bpf",
        "--target",
        BPF_TARGET,
    ]
}

fn bpf_target_dir() -> PathBuf {
    workspace::target().join("bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_outer_cargo_reaches_the_bpf_compiler() {
        let linker = PathBuf::from("/tools/bpf-linker");
        let cargo = bpf_cargo(&BpfToolchain::Debian { linker });
        let value = |name: &str| {
            let mut set = cargo.get_envs().filter(|(key, _)| *key == name);
            set.next()
                .and_then(|(_, value)| value.and_then(|value| value.to_str()))
        };
        assert_eq!(value("RUSTC"), Some("/usr/bin/rustc"));
        assert_eq!(value("RUSTUP_TOOLCHAIN"), None);
        assert!(
            cargo
                .get_envs()
                .any(|(key, value)| key == "RUSTUP_TOOLCHAIN" && value.is_none())
        );
    }
}
