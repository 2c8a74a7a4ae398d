//! Puts the BPF object beside the crate, for `include_bytes!(concat!(env!("OUT_DIR"), "/weir-ebpf"))`,
//! and the commit into `WEIR_GIT_COMMIT`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    embed_bpf_object()?;
    name_the_commit();
    Ok(())
}

/// `cargo xtask build` names the object in WEIR_BPF_OBJECT. A plain `cargo build` or an editor takes
/// the one that an earlier `cargo xtask build` left. An empty file means that there is none, so that
/// everything but the loader compiles and runs without the BPF toolchain.
fn embed_bpf_object() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=WEIR_BPF_OBJECT");
    let object = match env::var_os("WEIR_BPF_OBJECT") {
        Some(path) => Some(PathBuf::from(path)),
        None => Some(workspace()?.join("target/bpf/bpfel-unknown-none/bpf/weir-ebpf"))
            .filter(|path| path.exists()),
    };
    let bytes = match &object {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            fs::read(path)
                .map_err(|e| format!("cannot read the BPF object {}: {e}", path.display()))?
        }
        None => Vec::new(),
    };

    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("weir-ebpf");
    fs::write(embedded, bytes)?;
    Ok(())
}

fn name_the_commit() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=WEIR_GIT_COMMIT={commit}");
    // Not .git/HEAD by name: in a worktree .git is a file.
    if let Some(head) = git(&["rev-parse", "--path-format=absolute", "--git-path", "HEAD"]) {
        println!("cargo:rerun-if-changed={head}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn workspace() -> Result<PathBuf, Box<dyn Error>> {
    let agent = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    Ok(agent
        .parent()
        .map(Path::to_path_buf)
        .ok_or("the agent's folder has no parent")?)
}
