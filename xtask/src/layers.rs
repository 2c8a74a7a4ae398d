//! `cargo xtask layers`: who may import whom inside the agent, as docs/ARCHITECTURE.md has it.
//!
//! Every `use` and every path in agent/src is read with syn, macros' arguments included. Test code is
//! left out: the rules are about what ships.

mod imports;
mod rules;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::say::Step;
use crate::workspace;

pub(crate) fn run() -> Result<()> {
    let step = Step::quiet();
    let root = workspace::root();
    let sources = root.join("agent/src");
    let files = rust_files(&sources)?;
    let mut violations = Vec::new();
    for file in &files {
        let source =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let shown = file.strip_prefix(&root).unwrap_or(file).display();
        let module = module_path(file.strip_prefix(&sources)?);
        let broken = broken_rules(&module, &source).with_context(|| format!("parsing {shown}"))?;
        violations.extend(
            broken
                .into_iter()
                .map(|(line, rule)| format!("{shown}:{line}: {rule}")),
        );
    }
    if !violations.is_empty() {
        bail!(
            "modules import what they may not:\n{}",
            violations.join("\n")
        );
    }
    step.done(format_args!(
        "layers: {} files keep to the import rules",
        files.len()
    ));
    Ok(())
}

/// Lines of `source` that break a rule, each with the rule.
fn broken_rules(module: &[String], source: &str) -> Result<Vec<(usize, String)>> {
    let imports = imports::of_source(module, source)?;
    let mut broken: Vec<_> = imports
        .into_iter()
        .filter_map(|import| Some((import.line, rules::violation(module, &import)?)))
        .collect();
    broken.sort();
    broken.dedup();
    Ok(broken)
}

/// `proxy/l7/pipeline.rs` → `[proxy, l7, pipeline]`, `proxy/mod.rs` → `[proxy]`, `lib.rs` → `[]`,
/// `main.rs`, which is a crate of its own, → `[main]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_folders_own = path
        .last()
        .is_some_and(|last| last == "mod" || last == "lib");
    if is_folders_own {
        path.pop();
    }
    path
}

/// Every file but those of tests, in a fixed order.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
