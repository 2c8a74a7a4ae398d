//! What can go wrong between the agent and the kernel.

use std::{io, path::PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum DatapathError {
    #[error("this binary was built without its BPF programs; build it with `cargo xtask build`")]
    NotBuilt,
    #[error(
        "no cgroup2 file system is mounted; mount one (`mount -t cgroup2 none /sys/fs/cgroup/unified`) \
         or name it with --cgroup"
    )]
    NoCgroup2,
    #[error("cannot open {}: {source}; {remedy}", path.display())]
    Open {
        path: PathBuf,
        remedy: &'static str,
        source: io::Error,
    },
    #[error(
        "cannot load the BPF programs: {0}; `weir check` says which kernel feature or capability \
         is missing"
    )]
    Load(#[from] aya::EbpfError),
    #[error(
        "the kernel refused the BPF program {name}: {source}; `weir check` says what is missing"
    )]
    Program {
        name: &'static str,
        source: aya::programs::ProgramError,
    },
    #[error("the BPF object lacks {0}; it is of another version than this binary")]
    Missing(&'static str),
    #[error("cannot use the BPF map {name}: {source}")]
    Map {
        name: &'static str,
        source: aya::maps::MapError,
    },
    #[error("cannot attach {name}: {source}; CAP_BPF and CAP_NET_ADMIN are needed")]
    Attach {
        name: &'static str,
        source: io::Error,
    },
    #[error("cannot pin at {}: {source}; is it a bpffs?", path.display())]
    Pin { path: PathBuf, source: io::Error },
    #[error("cannot {action} in the network namespace {netns}: {source}")]
    Netns {
        action: &'static str,
        netns: String,
        source: io::Error,
    },
    #[error(
        "{netns} is the agent's or the host's own network namespace; only pods with one of their own \
         can be captured"
    )]
    OwnNetns { netns: String },
    #[error("this node has as many captured pods as the datapath holds ({0})")]
    TooManyPods(u32),
    #[error("another agent has taken over these pins; this one changes nothing any more")]
    Superseded,
}

impl DatapathError {
    pub(super) fn map(name: &'static str) -> impl Fn(aya::maps::MapError) -> Self {
        move |source| Self::Map { name, source }
    }
}
