//! What an agent is told: flags and environment, read once.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::model::{duration, spiffe::is_trust_domain};

/// Flags of `weir agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentSettings {
    /// Folder of manifests (*.yaml, *.yml, *.json), watched
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,

    /// This node's name: pods whose spec.nodeName is this are captured here
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: String,

    /// Folder for what must outlive a restart: the embedded CA's root
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weir")]
    pub state: PathBuf,

    /// This agent's own folder of a bpffs, for pinned maps and links
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/weir")]
    pub bpffs: PathBuf,

    /// Where /metrics and /healthz answer
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:15020")]
    pub metrics_addr: SocketAddr,

    /// Where everything of the admin API answers; keep it on loopback
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15021")]
    pub admin_addr: SocketAddr,

    /// Root or intermediate CA that agents share (PEM); without it the agent makes its own
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    pub ca_cert: Option<PathBuf>,

    /// The key of --ca-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    pub ca_key: Option<PathBuf>,

    /// The trust domain of this mesh's identities
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,

    /// cgroup2 folder whose processes are hooked [default: cgroup2's root, as mountinfo has it]
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,

    /// What becomes of capture when the agent ends: taken away, or left to a successor
    #[arg(long, value_enum, default_value_t = OnExit::Release)]
    pub on_exit: OnExit,

    /// How long open connections may go on after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub drain_timeout: Duration,

    /// Data-plane threads [default: one for each core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

/// See [`AgentSettings::on_exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnExit {
    /// Capture is taken away last; nothing is left behind
    Release,
    /// Pins stay for a successor; until it comes, captured connections are refused
    Hold,
}

impl AgentSettings {
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, Into::into);
        self.threads.map_or_else(cores, usize::from)
    }
}

/// Of a flag's value.
///
/// # Errors
/// What a trust domain is, when it is none.
pub fn trust_domain(text: &str) -> Result<String, String> {
    if is_trust_domain(text) {
        Ok(text.into())
    } else {
        Err("a trust domain has lower-case letters, digits, dots, dashes and underscores".into())
    }
}
