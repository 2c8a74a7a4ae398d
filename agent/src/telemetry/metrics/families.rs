//! The agent's metrics as they are registered: names, help and labels.

use std::{fmt, hash::Hash, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric},
    metrics::{TypedMetric, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Direction;
use crate::telemetry::reason::Reason;

/// Names are without the suffix that the format adds (`_total`).
pub(super) fn metric<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: EncodeMetric + TypedMetric + Default + Clone + fmt::Debug + Send + Sync + 'static,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

pub(super) fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: Clone + Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    M: EncodeMetric + TypedMetric + Default + fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

pub(super) struct Capture {
    pub(super) captured_pods: Gauge,
    pub(super) pods_pending: Gauge,
    pub(super) probe_failures: Counter,
}

impl Capture {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            captured_pods: metric(
                registry,
                "weir_captured_pods",
                "Pods of this node that are captured",
            ),
            pods_pending: metric(
                registry,
                "weir_pods_pending",
                "Pods of this node that are enrolled and not captured yet",
            ),
            probe_failures: metric(
                registry,
                "weir_capture_probe_failures",
                "Probes of the capture path that did not come through",
            ),
        }
    }
}

pub(super) struct Config {
    pub(super) generation: Gauge<u64, AtomicU64>,
    pub(super) rejected_objects: Gauge,
    pub(super) policy_conflicts: Gauge,
}

impl Config {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            generation: metric(
                registry,
                "weir_config_generation",
                "The configuration that is in force; grows with each change",
            ),
            rejected_objects: metric(
                registry,
                "weir_config_rejected_objects",
                "Objects and files that are refused for being invalid",
            ),
            policy_conflicts: metric(
                registry,
                "weir_config_policy_conflicts",
                "Services and rules that several TrafficPolicies name, of which one counts",
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HandshakeLabels {
    pub(super) side: &'static str,
    pub(super) reason: &'static str,
}

pub(super) struct Tunnels {
    pub(super) connections: ByDirection,
    pub(super) streams: ByDirection,
    pub(super) handshake_failures: Family<HandshakeLabels, Counter>,
}

impl Tunnels {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            connections: ByDirection::register(
                registry,
                "weir_hbone_connections",
                "Tunnels to other agents that are open",
            ),
            streams: ByDirection::register(
                registry,
                "weir_hbone_streams_active",
                "Streams within tunnels that are open",
            ),
            handshake_failures: family(
                registry,
                "weir_tls_handshake_failures",
                "TLS handshakes between agents that failed",
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

/// A gauge of things that are there now, one for each [`Direction`].
pub(super) struct ByDirection {
    outbound: Gauge,
    inbound: Gauge,
}

impl ByDirection {
    fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let gauges: Family<DirectionLabel, Gauge> = family(registry, name, help);
        let of = |direction: Direction| {
            gauges.get_or_create_owned(&DirectionLabel {
                direction: direction.as_str(),
            })
        };
        Self {
            outbound: of(Direction::Outbound),
            inbound: of(Direction::Inbound),
        }
    }

    pub(super) fn of(&self, direction: Direction) -> &Gauge {
        match direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabel {
    pub(super) limit: &'static str,
}

pub(super) struct Connections {
    pub(super) active: Gauge,
    pub(super) draining: Gauge,
    /// By `Reason as usize`.
    pub(super) failures: Vec<Counter>,
    pub(super) request_failures: Vec<Counter>,
    pub(super) limits_reached: Family<LimitLabel, Counter>,
}

impl Connections {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            active: metric(
                registry,
                "weir_connections_active",
                "Connections of apps that the agent carries; one within the node has two sides and counts twice",
            ),
            draining: metric(
                registry,
                "weir_drain_connections",
                "Connections that a drain still waits for",
            ),
            failures: failures(
                registry,
                "weir_connection_failures",
                "Connections that did not end as their two ends wanted",
            ),
            request_failures: failures(
                registry,
                "weir_request_failures",
                "Requests that did not end as their two ends wanted",
            ),
            limits_reached: family(
                registry,
                "weir_limits_reached",
                "Times that a named limit of the agent was reached",
            ),
        }
    }
}

/// One counter for each reason, so that an end costs no look-up. Reasons that have
/// not come up are exposed as zero: an alert's `rate()` sees the first one.
fn failures(registry: &mut Registry, name: &str, help: &str) -> Vec<Counter> {
    let counters: Family<ReasonLabel, Counter> = family(registry, name, help);
    let of = |reason: Reason| match reason.is_ok() {
        true => Counter::default(),
        false => counters.get_or_create_owned(&ReasonLabel {
            reason: reason.as_str(),
        }),
    };
    Reason::ALL.into_iter().map(of).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

pub(super) struct Renewals {
    pub(super) issued: Counter,
    pub(super) failed: Counter,
}

impl Renewals {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counters: Family<OutcomeLabel, Counter> = family(
            registry,
            "weir_certificate_renewals",
            "Certificates asked of the CA, the first ones included",
        );
        let of = |outcome| counters.get_or_create_owned(&OutcomeLabel { outcome });
        Self {
            issued: of("issued"),
            failed: of("failed"),
        }
    }
}

/// What telemetry itself had to leave out.
pub(super) struct Losses {
    pub(super) series_overflow: Counter,
    pub(super) access_log_dropped: Counter,
    pub(super) spans: SpanCounters,
}

/// What became of spans.
#[derive(Clone, Debug)]
pub(in crate::telemetry) struct SpanCounters {
    pub(in crate::telemetry) sent: Counter,
    pub(in crate::telemetry) dropped: Counter,
}

impl Losses {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            series_overflow: metric(
                registry,
                "weir_metrics_series_overflow",
                "Connections and requests counted under unknown because there are too many label sets",
            ),
            access_log_dropped: metric(
                registry,
                "weir_access_log_dropped",
                "Access log lines dropped because the log could not be written fast enough",
            ),
            spans: SpanCounters {
                sent: metric(
                    registry,
                    "weir_trace_spans_sent",
                    "Spans that the collector took",
                ),
                dropped: metric(
                    registry,
                    "weir_trace_spans_dropped",
                    "Spans dropped because the collector did not take them, or not fast enough",
                ),
            },
        }
    }
}
