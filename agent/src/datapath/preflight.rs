//! What the kernel and the machine must offer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{cgroup, loader};

/// The oldest kernel: SO_NETNS_COOKIE came with 5.14.
const KERNEL_MIN: (u32, u32) = (5, 14);
/// statfs(2): BPF_FS_MAGIC.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was found.
    Fine(String),
    /// What is wrong, and what to do.
    Missing { found: String, remedy: String },
}

pub fn run(bpffs: &Path, cgroup: Option<PathBuf>) -> Vec<Check> {
    let check = |name, outcome| Check { name, outcome };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut checks = vec![
        check("kernel", kernel(release.trim())),
        check("btf", btf(Path::new("/sys/kernel/btf/vmlinux"))),
        check("cgroup2", cgroup2(cgroup)),
    ];
    checks.extend(capabilities(&status));
    checks.push(check("bpffs", bpf_file_system(bpffs)));
    checks.push(check("programs", programs()));
    checks
}

fn fine(found: impl Into<String>) -> Outcome {
    Outcome::Fine(found.into())
}

fn missing(found: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    Outcome::Missing {
        found: found.into(),
        remedy: remedy.into(),
    }
}

fn kernel(release: &str) -> Outcome {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        fine(release)
    } else {
        let (major, minor) = KERNEL_MIN;
        missing(
            format!("Linux {release}"),
            format!("run Linux {major}.{minor} or newer (RHEL 9, Ubuntu 22.04, Debian 12 have it)"),
        )
    }
}

fn btf(path: &Path) -> Outcome {
    if path.exists() {
        fine(path.display().to_string())
    } else {
        missing(
            format!("{} is not there", path.display()),
            "run a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

fn cgroup2(given: Option<PathBuf>) -> Outcome {
    let path = match given.map_or_else(cgroup::cgroup2_root, Ok) {
        Ok(path) => path,
        Err(error) => {
            return missing(
                error.to_string(),
                "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`",
            );
        }
    };
    if path.join("cgroup.procs").exists() {
        fine(path.display().to_string())
    } else {
        missing(
            format!("{} is not a cgroup2 folder", path.display()),
            "name one with --cgroup",
        )
    }
}

/// capabilities(7), with why each is needed.
const CAPABILITIES: [(&str, u32, &str); 4] = [
    ("CAP_BPF", 39, "load BPF programs and maps"),
    (
        "CAP_PERFMON",
        38,
        "let the verifier follow pointers in BPF programs",
    ),
    (
        "CAP_NET_ADMIN",
        12,
        "attach to cgroups and network namespaces",
    ),
    (
        "CAP_SYS_ADMIN",
        21,
        "open sockets in pods' network namespaces (setns)",
    ),
];

fn capabilities(status: &str) -> impl Iterator<Item = Check> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES.into_iter().map(move |(name, bit, purpose)| {
        let outcome = if effective & (1 << bit) != 0 {
            fine(purpose)
        } else {
            missing(
                format!("not held, needed to {purpose}"),
                format!("run as root, or add {name} to the container's capabilities"),
            )
        };
        Check { name, outcome }
    })
}

/// The folder need not exist: the agent makes it. The file system must.
fn bpf_file_system(folder: &Path) -> Outcome {
    let Some(existing) = folder.ancestors().find(|path| path.exists()) else {
        return missing("no such path", "give an absolute path with --bpffs");
    };
    match rustix::fs::statfs(existing) {
        Ok(stat) if stat.f_type == BPF_FS_MAGIC => fine(existing.display().to_string()),
        Ok(_) => missing(
            format!("{} is not on a bpffs", folder.display()),
            "mount one: `mount -t bpf bpf /sys/fs/bpf`",
        ),
        Err(error) => missing(
            error.to_string(),
            "mount one: `mount -t bpf bpf /sys/fs/bpf`",
        ),
    }
}

fn programs() -> Outcome {
    if loader::is_built() {
        fine("built in")
    } else {
        missing(
            "this binary was built without its BPF programs",
            "build it with `cargo xtask build`",
        )
    }
}

#[cfg(test)]
mod tests;
