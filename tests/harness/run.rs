//! Names of runs, what a run needs of the machine, and what dead runs left behind.
//!
//! Everything that outlives a process if nobody removes it (namespaces, cgroups, pins, folders)
//! bears `weir-test-<pid>-<n>`: the pid tells whether its run is still alive.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::{
    fs::{StatFs, statfs},
    io::Errno,
    mount::{MountFlags, mount},
    process::geteuid,
};

use crate::{cgroup, netns};

const PREFIX: &str = "weir-test-";
pub(crate) const BPFFS: &str = "/sys/fs/bpf";
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Keeps the folder of a run (logs, manifests, states) for reading afterwards.
const KEEP_ENV: &str = "WEIR_TEST_KEEP";

/// One mesh's share of the machine: a name, a folder, pins.
pub(crate) struct Run {
    name: String,
    dir: PathBuf,
}

impl Run {
    /// # Panics
    /// When the machine lacks what the tests need. They fail then, they are not skipped.
    pub(crate) fn start() -> Self {
        static READY: Once = Once::new();
        READY.call_once(|| {
            preflight();
            sweep();
        });
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "{PREFIX}{}-{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        Self { name, dir }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of pins for something of this run. Not made: the agent does that.
    pub(crate) fn bpffs(&self, who: &str) -> PathBuf {
        Path::new(BPFFS).join(format!("{}-{who}", self.name))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        remove_matching(BPFFS, |name| {
            name.strip_prefix(&self.name)
                .is_some_and(|r| r.starts_with('-'))
        });
        if std::env::var_os(KEEP_ENV).is_some() {
            eprintln!("kept: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn preflight() {
    assert!(
        geteuid().is_root(),
        "these tests make network namespaces and load eBPF: run them as root"
    );
    assert!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "/sys/kernel/btf/vmlinux is missing: a kernel with CONFIG_DEBUG_INFO_BTF is needed"
    );
    if !is_bpffs() {
        match mount("bpf", BPFFS, "bpf", MountFlags::empty(), None) {
            // Another run was quicker.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(e) => panic!("cannot mount bpffs at {BPFFS}: {e}"),
        }
        assert!(is_bpffs(), "{BPFFS} is not a bpffs");
    }
    cgroup::root();
}

fn is_bpffs() -> bool {
    matches!(statfs(BPFFS), Ok(StatFs { f_type, .. }) if f_type as u64 == BPF_FS_MAGIC)
}

/// Removes what runs left behind whose process is gone.
pub fn sweep() {
    cgroup::remove_matching(is_dead);
    netns::remove_matching(is_dead);
    remove_matching(BPFFS, is_dead);
    remove_matching(std::env::temp_dir(), is_dead);
}

fn is_dead(name: &str) -> bool {
    let pid = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next());
    match pid.and_then(|pid| pid.parse::<u32>().ok()) {
        Some(pid) => !Path::new("/proc").join(pid.to_string()).exists(),
        None => false,
    }
}

/// Removes the folders of `parent` that are ours by name. Others may do the same at this moment.
fn remove_matching(parent: impl AsRef<Path>, ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&ours) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_runs_are_swept() {
        assert!(!is_dead(&format!("{PREFIX}{}-0", process::id())));
        assert!(!is_dead("weir-test-x-0"));
        assert!(!is_dead("somebody-else"));
        // Above the kernel's limit of pids.
        assert!(is_dead("weir-test-99999999-0-client"));
    }
}
