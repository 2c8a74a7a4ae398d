//! The paths that are compared. Each has a pair of namespaces of its own, all wired alike, and all are up for the
//! whole run, so that rounds can go from one to the next at once.

pub(crate) mod backend;
mod envoy;
mod metrics;
mod weir;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::certs::Authority;
use crate::load::Asks;
use crate::process::{Process, Talker};
use crate::sandbox::{Place, Sandbox};
pub(crate) use metrics::Counted;

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
    /// The same with a TrafficPolicy that has every field of `api.md`'s example.
    WeirSamePolicies,
    WeirCrossPolicies,
    /// One Envoy beside the client.
    EnvoyOneHop,
    /// Two Envoys as sidecars over mutual TLS: TCP proxy to TCP proxy, a TLS connection for each connection; HTTP
    /// as streams of pooled HTTP/2.
    EnvoyTwoHop,
    /// The same two Envoys with CONNECT streams over pooled HTTP/2.
    EnvoyHbone,
}

impl PathKind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::WeirSame,
        Self::WeirCross,
        Self::WeirSamePolicies,
        Self::WeirCrossPolicies,
        Self::EnvoyOneHop,
        Self::EnvoyTwoHop,
        Self::EnvoyHbone,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::WeirSame => "weir-same",
            Self::WeirCross => "weir-cross",
            Self::WeirSamePolicies => "weir-same-policies",
            Self::WeirCrossPolicies => "weir-cross-policies",
            Self::EnvoyOneHop => "envoy-one-hop",
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

    /// Whether the path says something about bytes that nobody parses.
    pub(crate) const fn carries_l4(self) -> bool {
        !matches!(self, Self::EnvoyOneHop) && !self.has_policies()
    }

    /// Whether a TrafficPolicy is in force.
    pub(crate) const fn has_policies(self) -> bool {
        matches!(self, Self::WeirSamePolicies | Self::WeirCrossPolicies)
    }

    /// Whether the path says something about requests.
    pub(crate) const fn carries_l7(self) -> bool {
        !matches!(self, Self::EnvoyHbone)
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
    /// What the client dials instead of the server's own address.
    ip: IpAddr,
    /// And what it adds to the server's port.
    port_offset: u16,
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
            PathKind::WeirSame
            | PathKind::WeirCross
            | PathKind::WeirSamePolicies
            | PathKind::WeirCrossPolicies => weir::start(sandbox, ca, kind, weir()?)?,
            PathKind::EnvoyOneHop | PathKind::EnvoyTwoHop | PathKind::EnvoyHbone => {
                envoy::start(sandbox, ca, kind, envoy()?)?
            }
        };
        running
            .wait_until_up(sandbox)
            .with_context(|| format!("{name} did not come up"))?;
        if let Some(proof) = running.proof.as_ref().filter(|_| kind.has_policies()) {
            proof.policy_acts()?;
        }
        Ok(running)
    }

    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.proxies
            .iter_mut()
            .chain(&mut self.backend)
            .try_for_each(Process::check_alive)
    }

    /// Where the client dials for the server's `port`.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        (self.ip, self.port_offset + port).into()
    }

    fn wait_until_up(&mut self, sandbox: &Sandbox) -> Result<()> {
        let deadline = Instant::now() + UP_MAX;
        if self.kind.carries_l4() {
            self.probe(sandbox, Asks::Http1, backend::HTTP_PORT, deadline)?;
        }
        if self.kind.carries_l7() {
            self.probe(sandbox, Asks::Http1, backend::WEB_PORT, deadline)?;
            self.probe(sandbox, Asks::Http2, backend::H2C_PORT, deadline)?;
            self.probe(sandbox, Asks::Grpc, backend::GRPC_PORT, deadline)?;
        }
        Ok(())
    }

    /// Asks from where the load will: in the client's namespace and in its cgroup, so that hooks see it.
    fn probe(&mut self, sandbox: &Sandbox, asks: Asks, port: u16, deadline: Instant) -> Result<()> {
        let name = format!("{}-probe", self.kind.name());
        let log = sandbox.dir("logs")?.join(&name);
        let words = ["probe", asks.name(), &self.address(port).to_string()].map(str::to_owned);
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
                    "no reply from port {port} within {UP_MAX:?}: {}",
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
        ip: pair.server_ip.into(),
        port_offset: 0,
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
