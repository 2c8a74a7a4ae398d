//! cgroup2: where a mesh's processes live, so that they can be hooked and killed together.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use crate::poll::wait_for;

static ROOT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    // Field 4 is the root within the file system, 5 where it is mounted (proc(5)).
    fs::read_to_string("/proc/self/mountinfo")
        .ok()?
        .lines()
        .find_map(|line| {
            let (mount, fs) = line.split_once(" - ")?;
            let is_cgroup2 = fs.split(' ').next() == Some("cgroup2");
            is_cgroup2.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
        })
});

/// # Panics
/// When cgroup2 is not mounted.
pub(crate) fn root() -> &'static Path {
    ROOT.as_deref()
        .expect("cgroup2 is not mounted: Weir hooks sockets by cgroup")
}

/// A cgroup with whatever is in it. Dropping kills and removes.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn create(name: &str) -> Self {
        let path = root().join(name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that takes `0` from a process which wants to be in the child `name`.
    pub(crate) fn child(&self, name: &str) -> File {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        let procs = path.join("cgroup.procs");
        File::options()
            .write(true)
            .open(&procs)
            .unwrap_or_else(|e| panic!("cannot open {}: {e}", procs.display()))
    }

    /// Kills what is in the child `name`.
    pub(crate) fn kill(&self, name: &str) {
        let _ = fs::write(self.path.join(name).join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        kill_and_remove(&self.path);
    }
}

pub(crate) fn remove_matching(ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(root()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&ours) {
            kill_and_remove(&entry.path());
        }
    }
}

fn kill_and_remove(path: &Path) {
    let _ = fs::write(path.join("cgroup.kill"), "1");
    // A cgroup can go when the last of its processes has been reaped.
    wait_for(Duration::from_secs(5), || remove_tree(path).ok());
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
