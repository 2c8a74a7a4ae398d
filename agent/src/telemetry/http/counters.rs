//! The counters behind the metrics of requests and routes.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hashbrown::Equivalent;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder},
    metrics::{MetricType, counter::ConstCounter},
};

use super::RequestProtocol;
use crate::{
    model::route::{BackendRef, ResolvedRule},
    telemetry::{
        histogram::Histogram,
        labels::{Code, CommonLabels, Exposed, Outcome, Reporter, TrafficLabels, UNKNOWN, put},
        peers::{ConnectionInfo, PeersKey, PeersQuery},
        reason::ResponseFlags,
        series::{Cache, Counters, Ends, LabelSet, PodKey, Registry, Series},
    },
};

/// Label sets of requests, of 67 time series each, and as many of routes, of 22 each. Past it, new
/// sets are counted together, with every label `unknown`. A fifth of what connections have, since
/// the exposition is held in memory while it is read.
pub const REQUEST_LABEL_SETS_MAX: usize = 2_000;

/// How a request ended, as far as labels tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestOutcome {
    pub(super) protocol: RequestProtocol,
    /// 0: there was no answer.
    pub(super) code: u16,
    pub(super) grpc_status: Option<u8>,
    pub(super) flags: ResponseFlags,
}

/// The labels of Istio's request metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::telemetry) struct RequestLabels {
    traffic: TrafficLabels,
    /// `None` only where label sets are collapsed for being too many.
    outcome: Option<RequestOutcome>,
}

impl RequestLabels {
    fn outcome(&self) -> Outcome {
        let Some(outcome) = self.outcome else {
            return Outcome {
                protocol: UNKNOWN,
                codes: Some((Code::Unknown, Code::Unknown)),
                flags: UNKNOWN,
            };
        };
        let grpc = |code| Code::Number(u16::from(code));
        Outcome {
            protocol: outcome.protocol.as_str(),
            codes: Some((
                Code::Number(outcome.code),
                outcome.grpc_status.map_or(Code::Empty, grpc),
            )),
            flags: outcome.flags.as_str(),
        }
    }
}

/// What is counted of requests with the same labels.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct RequestCounters {
    pub(super) requests: AtomicU64,
    /// In microseconds.
    pub(super) duration: Histogram<1000>,
    pub(super) received: Histogram<1>,
    pub(super) sent: Histogram<1>,
}

impl Counters for RequestCounters {
    fn used(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }
}

impl LabelSet for RequestLabels {
    type Counters = RequestCounters;

    fn reporter(&self) -> Reporter {
        self.traffic.reporter
    }

    fn overflow(reporter: Reporter) -> Self {
        Self {
            traffic: TrafficLabels::unknown(reporter),
            outcome: None,
        }
    }
}

/// Which rule sent a request where. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RouteRef {
    pub rule: Arc<ResolvedRule>,
    /// Into the rule's backends; `None` while none is chosen, or where none is (a redirect).
    pub backend: Option<usize>,
}

impl RouteRef {
    /// `namespace/name:port` of the backend.
    pub fn backend(&self) -> Option<String> {
        match &self.rule.rule().backends.get(self.backend?)?.backend {
            BackendRef::Service { name, port } => Some(format!("{name}:{port}")),
            BackendRef::Invalid(_) => Some("invalid".to_owned()),
        }
    }
}

/// The labels of `weir_route_request_duration_milliseconds`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::telemetry) struct RouteLabels {
    route: Arc<str>,
    rule: Arc<str>,
    backend: Arc<str>,
    /// The status code's first digit. 0: there was no answer. `None`: too many label sets.
    class: Option<u8>,
}

impl LabelSet for RouteLabels {
    type Counters = RouteCounters;

    /// The source chooses the route.
    fn reporter(&self) -> Reporter {
        Reporter::Source
    }

    fn overflow(_: Reporter) -> Self {
        Self {
            route: UNKNOWN.into(),
            rule: UNKNOWN.into(),
            backend: UNKNOWN.into(),
            class: None,
        }
    }
}

impl EncodeLabelSet for RouteLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        put(encoder, "route", &self.route)?;
        put(encoder, "rule", &self.rule)?;
        put(encoder, "backend", &self.backend)?;
        let class = match self.class {
            None => UNKNOWN.to_owned(),
            Some(0) => "0".to_owned(),
            Some(class) => format!("{class}xx"),
        };
        put(encoder, "response_code", &class)
    }
}

#[derive(Debug, Default)]
pub(in crate::telemetry) struct RouteCounters {
    /// In microseconds.
    pub(super) duration: Histogram<1000>,
}

impl Counters for RouteCounters {
    fn used(&self) -> bool {
        self.duration.used()
    }
}

/// Istio's request metrics, and those of routes.
pub(in crate::telemetry) struct RequestMetrics {
    common: CommonLabels,
    requests: Registry<RequestLabels>,
    routes: Registry<RouteLabels>,
}

impl RequestMetrics {
    pub(in crate::telemetry) fn new(common: CommonLabels, label_sets_max: usize) -> Self {
        Self {
            common,
            requests: Registry::new(label_sets_max),
            routes: Registry::new(label_sets_max),
        }
    }

    pub(in crate::telemetry) fn retain_pods(&self, alive: impl Fn(&PodKey) -> bool) {
        self.requests.retain(alive);
    }

    pub(in crate::telemetry) fn retain_routes(&self, alive: impl Fn(&str) -> bool) {
        self.routes.retain_labels(|labels| alive(&labels.route));
    }
}

impl fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMetrics").finish_non_exhaustive()
    }
}

impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.requests.exposed();
        let exposed: Vec<_> = all
            .iter()
            .map(|series| {
                let labels = &series.labels;
                Exposed::new(&self.common, &labels.traffic, labels.outcome())
            })
            .collect();
        let mut family =
            encoder.encode_descriptor("istio_requests", "Requests.", None, MetricType::Counter)?;
        for (series, labels) in all.iter().zip(&exposed) {
            let requests = ConstCounter::new(series.counters.requests.load(Relaxed));
            requests.encode(family.encode_family(labels)?)?;
        }
        let mut histogram = |name, help, of: &dyn Fn(&RequestCounters) -> &dyn EncodeMetric| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (series, labels) in all.iter().zip(&exposed) {
                of(&series.counters).encode(family.encode_family(labels)?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        histogram(
            "istio_request_duration_milliseconds",
            "From a request's head to the end of its answer.",
            &|counters| &counters.duration,
        )?;
        histogram(
            "istio_request_bytes",
            "Bytes of requests' bodies.",
            &|counters| &counters.received,
        )?;
        histogram(
            "istio_response_bytes",
            "Bytes of answers' bodies.",
            &|counters| &counters.sent,
        )?;
        let mut family = encoder.encode_descriptor(
            "weir_route_request_duration_milliseconds",
            "Time of requests by the rule and backend that they were sent to.",
            None,
            MetricType::Histogram,
        )?;
        for series in self.routes.exposed() {
            let duration = &series.counters.duration;
            duration.encode(family.encode_family(&series.labels)?)?;
        }
        Ok(())
    }
}

/// What one worker remembers of [`RequestMetrics`].
#[derive(Default)]
pub(in crate::telemetry) struct Caches {
    requests: Cache<RequestKey, RequestLabels>,
    routes: Cache<RouteKey, RouteLabels>,
}

impl Caches {
    pub(super) fn requests(
        &mut self,
        metrics: &RequestMetrics,
        peers: &ConnectionInfo,
        outcome: RequestOutcome,
    ) -> Arc<Series<RequestLabels>> {
        let registry = &metrics.requests;
        if let Some(series) = self
            .requests
            .get(registry, &RequestQuery(PeersQuery(peers), outcome))
        {
            return Arc::clone(series);
        }
        let labels = RequestLabels {
            traffic: peers.labels(),
            outcome: Some(outcome),
        };
        let series = registry.resolve(labels, peers.ends());
        let key = RequestKey(PeersKey::of(peers), outcome);
        self.requests.insert(key, &series);
        series
    }

    pub(super) fn routes(
        &mut self,
        metrics: &RequestMetrics,
        route: &RouteRef,
        code: u16,
    ) -> Arc<Series<RouteLabels>> {
        let registry = &metrics.routes;
        let class = u8::try_from(code / 100).unwrap_or_default();
        let fingerprint = (Arc::as_ptr(&route.rule).addr(), route.backend, class);
        if let Some(series) = self.routes.get(registry, &fingerprint) {
            return Arc::clone(series);
        }
        let labels = RouteLabels {
            route: Arc::clone(&route.rule.route_label),
            rule: Arc::clone(&route.rule.rule_label),
            backend: route.backend().map_or("none".into(), Into::into),
            class: Some(class),
        };
        let series = registry.resolve(labels, Ends::default());
        let key = RouteKey {
            fingerprint,
            _rule: Arc::clone(&route.rule),
        };
        self.routes.insert(key, &series);
        series
    }
}

#[derive(PartialEq, Eq, Hash)]
struct RequestKey(PeersKey, RequestOutcome);

/// A [`RequestKey`] to look for, which holds nothing.
#[derive(Hash)]
struct RequestQuery<'a>(PeersQuery<'a>, RequestOutcome);

impl Equivalent<RequestKey> for RequestQuery<'_> {
    fn equivalent(&self, key: &RequestKey) -> bool {
        self.1 == key.1 && self.0.equivalent(&key.0)
    }
}

#[cfg(test)]
impl Caches {
    pub(super) fn requests_len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn routes_len(&self) -> usize {
        self.routes.len()
    }
}

/// Address of the rule, backend, class of the status.
type RouteFingerprint = (usize, Option<usize>, u8);

struct RouteKey {
    fingerprint: RouteFingerprint,
    /// Keeps the address its own.
    _rule: Arc<ResolvedRule>,
}

impl Borrow<RouteFingerprint> for RouteKey {
    fn borrow(&self) -> &RouteFingerprint {
        &self.fingerprint
    }
}

impl PartialEq for RouteKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for RouteKey {}

impl Hash for RouteKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}
