//! What only the agent knows of itself: the `weir_*` metrics.
//!
//! Callers say what happened (`connection_ended`, `limit_reached`); which series that is stays in
//! here. Every label comes from a closed set.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Instant, SystemTime},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    side: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// A gauge of things that are there now, one for each [`Direction`].
#[derive(Clone, Debug)]
struct ByDirection {
    outbound: Gauge,
    inbound: Gauge,
}

impl ByDirection {
    fn of(&self, direction: Direction) -> &Gauge {
        match direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
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
    captured_pods: Gauge,
    pods_pending: Gauge,
    capture_probe_failures: Counter,
    config_generation: Gauge<u64, AtomicU64>,
    config_rejected_objects: Gauge,
    tls_handshake_failures: Family<HandshakeLabels, Counter>,
    hbone_connections: ByDirection,
    hbone_streams: ByDirection,
    connections_active: Gauge,
    /// By `Reason as usize`.
    connection_failures: Vec<Counter>,
    limits_reached: Family<LimitLabel, Counter>,
    certificate_renewed: Counter,
    certificate_failed: Counter,
    drain_connections: Gauge,
    series_overflow: Counter,
    access_log_dropped: Counter,
}

impl Metrics {
    pub(super) fn new(clock: Arc<dyn Clock>, registry: &mut Registry) -> Self {
        let observed = Arc::new(Observed::new(clock));
        registry.register_collector(Box::new(Arc::clone(&observed)));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("weir_build", "The agent's version", build);
        Self::register(observed, registry)
    }

    fn register(observed: Arc<Observed>, registry: &mut Registry) -> Self {
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let captured_pods = gauge("weir_captured_pods", "Pods of this node that are captured");
        let pods_pending = gauge(
            "weir_pods_pending",
            "Pods of this node that are enrolled and not captured yet",
        );
        let config_rejected_objects = gauge(
            "weir_config_rejected_objects",
            "Objects and files that are refused for being invalid",
        );
        let connections_active = gauge(
            "weir_connections_active",
            "Connections of apps that the agent carries now; one within the node counts on both sides",
        );
        let drain_connections = gauge(
            "weir_drain_connections",
            "Connections that a drain still waits for",
        );
        let mut counter = |name: &str, help: &str| {
            let counter: Counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let capture_probe_failures = counter(
            "weir_capture_probe_failures",
            "Probes of the capture path that did not come through",
        );
        let series_overflow = counter(
            "weir_metrics_series_overflow",
            "Connections counted under unknown because there are too many label sets",
        );
        let access_log_dropped = counter(
            "weir_access_log_dropped",
            "Access log lines dropped because the log could not be written fast enough",
        );
        let config_generation = Gauge::default();
        registry.register(
            "weir_config_generation",
            "The configuration that is in force; grows with each change",
            config_generation.clone(),
        );
        let (certificate_renewed, certificate_failed) = renewals(registry);
        Self {
            observed,
            captured_pods,
            pods_pending,
            capture_probe_failures,
            config_generation,
            config_rejected_objects,
            tls_handshake_failures: family(
                registry,
                "weir_tls_handshake_failures",
                "TLS handshakes between agents that failed",
            ),
            hbone_connections: by_direction(
                registry,
                "weir_hbone_connections",
                "Tunnels to other agents that are open",
            ),
            hbone_streams: by_direction(
                registry,
                "weir_hbone_streams_active",
                "Streams within tunnels that are open",
            ),
            connections_active,
            connection_failures: failures(registry),
            limits_reached: family(
                registry,
                "weir_limits_reached",
                "Times that a named limit of the agent was reached",
            ),
            certificate_renewed,
            certificate_failed,
            drain_connections,
            series_overflow,
            access_log_dropped,
        }
    }

    /// Where the kernel's verdicts are read at each scrape: name and count, the names from a
    /// closed set. The first source stays.
    pub fn read_capture_verdicts_from(&self, source: VerdictSource) {
        self.observed.set_verdicts(source);
    }

    pub fn set_captured_pods(&self, captured: usize, pending: usize) {
        self.captured_pods.set(signed(captured));
        self.pods_pending.set(signed(pending));
    }

    pub fn capture_probe_failed(&self) {
        self.capture_probe_failures.inc();
    }

    /// A configuration is in force since `at`.
    pub fn config_applied(&self, generation: u64, rejected: usize, at: Instant) {
        self.config_generation.set(generation);
        self.config_rejected_objects.set(signed(rejected));
        self.observed.set_config_applied(at);
    }

    /// `reason` is `TlsFailure::as_str` of `identity`: a closed set.
    pub fn tls_handshake_failed(&self, side: TlsSide, reason: &'static str) {
        let labels = HandshakeLabels { side: side.as_str(), reason };
        self.tls_handshake_failures.get_or_create(&labels).inc();
    }

    /// A tunnel stands. Counted until the guard is dropped.
    pub fn hbone_connection(&self, direction: Direction) -> ActiveGuard {
        ActiveGuard::new(self.hbone_connections.of(direction))
    }

    /// A stream within a tunnel is open. Counted until the guard is dropped.
    pub fn hbone_stream(&self, direction: Direction) -> ActiveGuard {
        ActiveGuard::new(self.hbone_streams.of(direction))
    }

    /// A drain waits for one more connection, until the guard is dropped.
    pub fn draining_connection(&self) -> ActiveGuard {
        ActiveGuard::new(&self.drain_connections)
    }

    /// `limit` is the name of a constant: a closed set.
    pub fn limit_reached(&self, limit: &'static str) {
        self.limits_reached.get_or_create(&LimitLabel { limit }).inc();
    }

    pub(super) fn connection_began(&self) {
        self.connections_active.inc();
    }

    pub(super) fn connection_ended(&self, reason: Reason) {
        self.connections_active.dec();
        if !reason.is_ok() {
            self.connection_failures[reason as usize].inc();
        }
    }

    pub(super) fn series_overflowed(&self) {
        self.series_overflow.inc();
    }

    pub(super) fn access_log_dropped(&self) -> Counter {
        self.access_log_dropped.clone()
    }
}

impl CertificateEvents for Metrics {
    fn issued(&self, identity: &SpiffeId, not_after: SystemTime) {
        self.certificate_renewed.inc();
        self.observed.set_certificate(identity, not_after);
    }

    fn failed(&self, _identity: &SpiffeId) {
        self.certificate_failed.inc();
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

fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    M: prometheus_client::encoding::EncodeMetric
        + prometheus_client::metrics::TypedMetric
        + Default
        + fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

fn by_direction(registry: &mut Registry, name: &str, help: &str) -> ByDirection {
    let gauges: Family<DirectionLabel, Gauge> = family(registry, name, help);
    let of = |direction: Direction| {
        gauges.get_or_create_owned(&DirectionLabel { direction: direction.as_str() })
    };
    ByDirection { outbound: of(Direction::Outbound), inbound: of(Direction::Inbound) }
}

fn renewals(registry: &mut Registry) -> (Counter, Counter) {
    let counters: Family<OutcomeLabel, Counter> = family(
        registry,
        "weir_certificate_renewals",
        "Certificates asked of the CA, the first ones included",
    );
    let of = |outcome| counters.get_or_create_owned(&OutcomeLabel { outcome });
    (of("issued"), of("failed"))
}

/// One counter for each reason, so that a connection's end costs no look-up. Reasons that have
/// not come up are exposed as zero: an alert's `rate()` sees the first one.
fn failures(registry: &mut Registry) -> Vec<Counter> {
    let counters: Family<ReasonLabel, Counter> = family(
        registry,
        "weir_connection_failures",
        "Connections that did not end as their two ends wanted",
    );
    let of = |reason: Reason| match reason.is_ok() {
        true => Counter::default(),
        false => counters.get_or_create_owned(&ReasonLabel { reason: reason.as_str() }),
    };
    Reason::ALL.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests;
