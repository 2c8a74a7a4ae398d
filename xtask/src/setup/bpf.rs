//! What compiles Rust to BPF: Debian's compiler, which has a ready-made `core` for BPF, or elsewhere a
//! nightly that builds its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{apt, tools};
use crate::process;
use crate::workspace;

/// bpf-linker reads the compiler's bitcode, so both are of one LLVM: 22.
const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
];
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// Clippy of the same compiler: another one cannot read its `core`.
const LINT_PACKAGE: &str = "rust-web-clippy";

const HELP: &str = "nothing here compiles Rust to BPF. Either on Debian 12 or newer: \
    `cargo xtask setup build`. Or with rustup: \
    `rustup toolchain install nightly --component rust-src && cargo install bpf-linker`";

/// A compiler for BPF and the linker that fits it.
pub(crate) enum BpfToolchain {
    Debian { linker: PathBuf },
    Nightly { linker: PathBuf },
}

impl BpfToolchain {
    pub(crate) fn linker(&self) -> &Path {
        match self {
            Self::Debian { linker } | Self::Nightly { linker } => linker,
        }
    }
}

/// Takes what is there before it installs anything.
pub(super) fn toolchain() -> Result<BpfToolchain> {
    let missing = apt::not_installed(PACKAGES);
    if missing.is_empty() {
        return debian();
    }
    if let Some(linker) = ready_nightly() {
        return Ok(BpfToolchain::Nightly { linker });
    }
    if !apt::is_usable() {
        bail!(HELP);
    }
    apt::install(&missing).map_err(|error| error.context(HELP))?;
    debian()
}

/// Packages that lint the BPF programs; none where a nightly, with its own clippy, compiles them.
pub(super) fn lint_packages() -> Vec<&'static str> {
    if !apt::not_installed(PACKAGES).is_empty() {
        return Vec::new();
    }
    apt::not_installed(&[LINT_PACKAGE])
}

fn debian() -> Result<BpfToolchain> {
    Ok(BpfToolchain::Debian {
        linker: tools::bpf_linker(Path::new(LLVM_PREFIX))?,
    })
}

/// The linker, when a nightly with its sources is there too.
fn ready_nightly() -> Option<PathBuf> {
    let linker = workspace::find_program("bpf-linker")?;
    let mut sysroot = Command::new("rustup");
    sysroot.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let sysroot = process::output(&mut sysroot).ok()?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    sources.is_dir().then_some(linker)
}
