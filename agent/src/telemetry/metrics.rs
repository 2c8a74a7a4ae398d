//! What only the agent knows of itself: the `weir_*` metrics.
//!
//! Callers say what happened (`tls_handshake_failed`, `limit_reached`); which series that is stays
//! in here. Every label comes from a closed set, or is bounded.

mod families;
mod resilience;

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, info::Info},
    registry::Registry,
};

pub(super) use self::families::SpanCounters;
pub use self::resilience::{BREAKER_SERVICES_MAX, FaultKind, PoolLimit, RetryOutcome};
use self::{
    families::{
        Capture, Config, Connections, HandshakeLabels, LimitLabel, Losses, Renewals, Tunnels,
    },
    resilience::Resilience,
};
use super::{
    observed::{Observed, VerdictSource},
    reason::Reason,
};
use crate::model::{
    seams::{CertificateEvents, Clock},
    spiffe::SpiffeId,
};

/// Which way a tunnel goes, seen from this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Dialled by this agent.
    Outbound,
    /// Accepted by this agent.
    Inbound,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// Which side of a TLS handshake this agent was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    Client,
    Server,
}

impl TlsSide {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Counts one thing as being there until it is dropped.
#[derive(Debug)]
#[must_use = "the thing counts as gone once this is dropped"]
pub struct ActiveGuard(Gauge);

impl ActiveGuard {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The agent's own metrics. Cheap to share; every method may be called from any thread.
pub struct Metrics {
    observed: Arc<Observed>,
    capture: Capture,
    config: Config,
    tunnels: Tunnels,
    connections: Connections,
    renewals: Renewals,
    losses: Losses,
    resilience: Resilience,
}

impl Metrics {
    pub(super) fn new(clock: Arc<dyn Clock>, registry: &mut Registry) -> Self {
        let observed = Arc::new(Observed::new(clock));
        registry.register_collector(Box::new(Arc::clone(&observed)));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("weir_build", "The agent's version", build);
        Self {
            observed,
            capture: Capture::register(registry),
            config: Config::register(registry),
            tunnels: Tunnels::register(registry),
            connections: Connections::register(registry),
            renewals: Renewals::register(registry),
            losses: Losses::register(registry),
            resilience: Resilience::register(registry),
        }
    }

    /// Where the kernel's verdicts are read at each scrape: name and count, the names from a
    /// closed set. The first source stays.
    pub fn read_capture_verdicts_from(&self, source: VerdictSource) {
        self.observed.set_verdicts(source);
    }

    pub fn set_captured_pods(&self, captured: usize, pending: usize) {
        self.capture.captured_pods.set(signed(captured));
        self.capture.pods_pending.set(signed(pending));
    }

    pub fn capture_probe_failed(&self) {
        self.capture.probe_failures.inc();
    }

    /// A configuration is in force since `at`.
    pub fn config_applied(&self, generation: u64, rejected: usize, at: Instant) {
        self.config.generation.set(generation);
        self.config.rejected_objects.set(signed(rejected));
        self.observed.set_config_applied(at);
    }

    /// Targets that several TrafficPolicies name, right now.
    pub fn set_policy_conflicts(&self, conflicts: usize) {
        self.config.policy_conflicts.set(signed(conflicts));
    }

    /// `reason` is `TlsFailure::as_str` of `identity`: a closed set.
    pub fn tls_handshake_failed(&self, side: TlsSide, reason: &'static str) {
        let side = side.as_str();
        let labels = HandshakeLabels { side, reason };
        self.tunnels.handshake_failures.get_or_create(&labels).inc();
    }

    /// A tunnel stands. Counted until the guard is dropped.
    pub fn hbone_connection(&self, direction: Direction) -> ActiveGuard {
        ActiveGuard::new(self.tunnels.connections.of(direction))
    }

    /// A stream within a tunnel is open. Counted until the guard is dropped.
    pub fn hbone_stream(&self, direction: Direction) -> ActiveGuard {
        ActiveGuard::new(self.tunnels.streams.of(direction))
    }

    /// How many connections a drain still waits for.
    pub fn set_drain_connections(&self, connections: usize) {
        self.connections.draining.set(signed(connections));
    }

    /// `limit` is the name of a constant: a closed set.
    pub fn limit_reached(&self, limit: &'static str) {
        let labels = LimitLabel { limit };
        self.connections.limits_reached.get_or_create(&labels).inc();
    }

    pub(super) fn connection_began(&self) {
        self.connections.active.inc();
    }

    pub(super) fn connection_dismissed(&self) {
        self.connections.active.dec();
    }

    pub(super) fn connection_ended(&self, reason: Reason) {
        self.connections.active.dec();
        if !reason.is_ok() {
            self.connections.failures[reason as usize].inc();
        }
    }

    pub(super) fn request_ended(&self, reason: Reason) {
        if !reason.is_ok() {
            self.connections.request_failures[reason as usize].inc();
        }
    }

    pub(super) fn series_overflowed(&self) {
        self.losses.series_overflow.inc();
    }

    pub(super) fn spans(&self) -> SpanCounters {
        self.losses.spans.clone()
    }

    pub(super) fn access_log_dropped(&self) -> Counter {
        self.losses.access_log_dropped.clone()
    }
}

impl CertificateEvents for Metrics {
    fn issued(&self, identity: &SpiffeId, not_after: SystemTime) {
        self.renewals.issued.inc();
        self.observed.set_certificate(identity, not_after);
    }

    fn failed(&self, _identity: &SpiffeId) {
        self.renewals.failed.inc();
    }

    fn removed(&self, identity: &SpiffeId) {
        self.observed.remove_certificate(identity);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
