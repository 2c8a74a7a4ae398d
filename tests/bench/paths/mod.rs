//! The paths that are compared. Each has a pair of namespaces of its own, all wired alike, and all are up for the
//! whole run, so that rounds can go from one to the next at once.

pub(crate) mod backend;
mod envoy;
mod metrics;
mod weir;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::certs::Authority;
use crate::process::{Process, Talker};
use crate::sandbox::{Place, Sandbox};

/// How long until a path carries its first request.
const UP_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathKind {
    /// Client to server, nothing in between.
    Direct,
    /// Both pods on one node, one agent.
    WeirSame,
    /// Two nodes, two agents, HBONE over mutual TLS.
    WeirCross,
    /// Two Envoys as sidecars, TCP proxy to TCP proxy over mutual TLS: a TLS connection for each connection.
    EnvoyTwoHop,
    /// The same two Envoys with CONNECT streams over pooled HTTP/2.
    EnvoyHbone,
}

impl PathKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Direct,
        Self::WeirSame,
        Self::WeirCross,
        Self::EnvoyTwoHop,
        Self::EnvoyHbone,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::WeirSame => "weir-same",
            Self::WeirCross => "weir-cross",
            Self::EnvoyTwoHop => "envoy-two-hop",
            Self::EnvoyHbone => "envoy-hbone",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .with_context(|| format!("no path `{name}`"))
    }
}

/// The programs that are measured.
pub(crate) struct Binaries {
    pub(crate) weir: Option<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
}

/// A path that carries traffic.
pub(crate) struct Running {
    pub(crate) kind: PathKind,
    /// Where the load runs.
    pub(crate) client: Place,
    pub(crate) http: SocketAddr,
    pub(crate) bulk: SocketAddr,
    /// The source's proxy first.
    pub(crate) proxies: Vec<Process>,
    /// Where the proxies say what went through them; none where there is no other way to the server.
    pub(crate) proof: Option<metrics::Proof>,
    backend: Vec<Process>,
}

impl Running {
    pub(crate) fn start(
        sandbox: &mut Sandbox,
        ca: &Authority,
        kind: PathKind,
        binaries: &Binaries,
    ) -> Result<Self> {
        let name = kind.name();
        let weir = || {
            binaries
                .weir
                .as_deref()
                .context("no weir binary: `cargo xtask build`, or --weir FILE")
        };
        let envoy = || {
            binaries
                .envoy
                .as_deref()
                .context("no Envoy: `cargo xtask setup`, or WEIR_ENVOY=FILE")
        };
        let mut running = match kind {
            PathKind::Direct => direct(sandbox, name)?,
            PathKind::WeirSame => weir::start(sandbox, ca, kind, weir()?)?,
            PathKind::WeirCross => weir::start(sandbox, ca, kind, weir()?)?,
            PathKind::EnvoyTwoHop | PathKind::EnvoyHbone => {
                envoy::start(sandbox, ca, kind, envoy()?)?
            }
        };
        running
            .wait_until_up(sandbox)
            .with_context(|| format!("{name} did not come up"))?;
        Ok(running)
    }

    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.proxies
            .iter_mut()
            .chain(&mut self.backend)
            .try_for_each(Process::check_alive)
    }

    /// Asks from where the load will: in the client's namespace and in its cgroup, so that hooks see it.
    fn wait_until_up(&mut self, sandbox: &Sandbox) -> Result<()> {
        let name = format!("{}-probe", self.kind.name());
        let log = sandbox.dir("logs")?.join(&name);
        let words = ["probe".to_owned(), self.http.to_string()];
        let deadline = Instant::now() + UP_MAX;
        loop {
            self.check_alive()?;
            let mut probe =
                Talker::start(&name, &std::env::current_exe()?, &words, &self.client, &log)?;
            if probe.line(deadline)?.is_some() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = std::fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "no reply within {UP_MAX:?}: {}",
                    why.lines().next().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn direct(sandbox: &mut Sandbox, name: &str) -> Result<Running> {
    let node = sandbox.node("plain")?;
    let pair = sandbox.pair(name, &node, &node)?;
    let backend = backend::start(sandbox, name, &pair.server, Ipv4Addr::UNSPECIFIED)?;
    Ok(Running {
        kind: PathKind::Direct,
        http: (pair.server_ip, backend::HTTP_PORT).into(),
        bulk: (pair.server_ip, backend::BULK_PORT).into(),
        client: pair.client,
        proxies: Vec::new(),
        proof: None,
        backend,
    })
}

/// Waits for `ready`, as long as `process` lives.
fn wait_for(process: &mut Process, what: &str, ready: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + UP_MAX;
    loop {
        process.check_alive()?;
        let state = ready();
        if matches!(state, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let why = state.err().map_or_else(
                || "it says it is not".to_owned(),
                |error| format!("{error:#}"),
            );
            bail!("{} was not {what} within {UP_MAX:?}: {why}", process.name);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
