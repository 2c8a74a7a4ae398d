//! What a node must have, each with its remedy: `weir check`. And what `weir uninstall` takes away.

use std::path::{Path, PathBuf};

pub use crate::datapath::preflight::{Check, Outcome};
use crate::datapath::{self, DatapathError};

/// All checks, in the order in which an agent would stumble over them.
pub fn run(bpffs: &Path, cgroup: Option<&Path>) -> Vec<Check> {
    datapath::preflight::run(bpffs, cgroup.map(PathBuf::from))
}

/// Removes what an agent has left at `bpffs`. Returns whether there was anything.
pub fn uninstall(bpffs: &Path) -> Result<bool, DatapathError> {
    datapath::uninstall(bpffs)
}
