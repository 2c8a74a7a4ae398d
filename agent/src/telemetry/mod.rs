//! What the agent tells of its work: metrics, the access log, the agent's own log.
//!
//! [`Telemetry`] belongs to the control side; each data-plane thread takes a [`WorkerTelemetry`]
//! from it and tells of its connections there.

mod access_log;
mod ended;
pub mod exposition;
mod histogram;
mod http;
mod labels;
pub mod logging;
mod metrics;
mod observed;
mod peers;
pub mod reason;
mod series;
mod tap;
mod tcp;
#[cfg(test)]
mod testing;
pub mod trace;
mod worker;

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;

use self::labels::CommonLabels;
pub use self::{
    access_log::ACCESS_LOG_QUEUE_MAX,
    http::{
        REQUEST_LABEL_SETS_MAX, RequestDetails, RequestInfo, RequestProtocol, RequestRecord,
        RouteRef,
    },
    labels::{Reporter, SecurityPolicy},
    metrics::{
        ActiveGuard, BREAKER_SERVICES_MAX, Direction, FaultKind, Metrics, PoolLimit, RetryOutcome,
        TlsSide,
    },
    observed::{
        BreakerObserved, PoolObserved, SERVICES_OBSERVED_MAX, ServicesObserved, ServicesSource,
        VerdictSource,
    },
    peers::ConnectionInfo,
    reason::Reason,
    series::PodKey,
    tap::{StatusFilter, StatusFilterError, TAPS_MAX, TapEvent, TapFilter, TapStream, TooManyTaps},
    tcp::{ConnectionRecord, LABEL_SETS_MAX},
    worker::WorkerTelemetry,
};
use crate::model::{
    mesh::{AccessLogMode, MeshConfig},
    names::CLUSTER_DOMAIN,
    seams::Clock,
};

/// What stays the same while the agent runs.
pub struct Settings {
    /// Labels `source_cluster` and `destination_cluster`. Istio's default is `Kubernetes`.
    pub cluster: Arc<str>,
    /// The end of service names. Default `cluster.local`.
    pub cluster_domain: Arc<str>,
    /// Label sets of connections before they are counted together.
    pub label_sets_max: usize,
    /// The same of requests, and of routes.
    pub request_label_sets_max: usize,
    /// Where access log lines go.
    pub access_log: Box<dyn Write + Send>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: "Kubernetes".into(),
            cluster_domain: CLUSTER_DOMAIN.into(),
            label_sets_max: LABEL_SETS_MAX,
            request_label_sets_max: REQUEST_LABEL_SETS_MAX,
            access_log: Box::new(io::stdout()),
        }
    }
}

/// The agent's telemetry. Clones share it.
#[derive(Clone)]
pub struct Telemetry(Arc<Shared>);

/// What control and data-plane threads have in common.
pub(crate) struct Shared {
    clock: Arc<dyn Clock>,
    registry: Registry,
    metrics: Arc<Metrics>,
    tcp: Arc<tcp::ConnectionMetrics>,
    http: Arc<http::RequestMetrics>,
    /// What is in force of `MeshConfig`.
    config: ArcSwap<MeshConfig>,
    /// What of [`Wanted`] there is, so that a request asks one word.
    wanted: AtomicU8,
    access_log: access_log::AccessLog,
    spans: trace::Spans,
    taps: tap::Taps,
}

/// Who wants to know of each connection and request, beside the metrics.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Wanted {
    AccessLog = 1,
    Traces = 2,
    Taps = 4,
}

impl Telemetry {
    /// # Errors
    /// When the access log's thread cannot be started.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::new(Arc::clone(&clock), &mut registry));
        let common = CommonLabels {
            cluster: settings.cluster,
            cluster_domain: Arc::clone(&settings.cluster_domain),
        };
        let tcp = Arc::new(tcp::ConnectionMetrics::new(
            common.clone(),
            settings.label_sets_max,
        ));
        registry.register_collector(Box::new(Arc::clone(&tcp)));
        let http = Arc::new(http::RequestMetrics::new(
            common,
            settings.request_label_sets_max,
        ));
        registry.register_collector(Box::new(Arc::clone(&http)));
        let access_log = access_log::AccessLog::start(
            settings.access_log,
            Arc::clone(&settings.cluster_domain),
            metrics.access_log_dropped(),
        )?;
        let spans = trace::Spans::new(metrics.spans(), Arc::clone(&settings.cluster_domain));
        Ok(Self(Arc::new(Shared {
            clock,
            registry,
            metrics,
            tcp,
            http,
            config: ArcSwap::default(),
            wanted: AtomicU8::new(0),
            access_log,
            spans,
            taps: tap::Taps::new(settings.cluster_domain),
        })))
    }

    /// A data-plane thread's own end. To be called on that thread, once.
    pub fn worker(&self) -> WorkerTelemetry {
        WorkerTelemetry::new(Arc::clone(&self.0))
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// What `MeshConfig` says of telemetry, whenever it changes. Acts on what begins from now on.
    pub fn configure(&self, config: &Arc<MeshConfig>) {
        let logs = config
            .access_log
            .mode
            .any(|mode| *mode != AccessLogMode::Off);
        let collector = config.tracing.as_ref().map(|tracing| &tracing.collector);
        let traces = self.0.spans.send_to(collector);
        self.0.config.store(Arc::clone(config));
        self.0.want(Wanted::AccessLog, logs);
        self.0.want(Wanted::Traces, traces);
    }

    /// Requests as they end, from now on, that `filter` lets through.
    ///
    /// # Errors
    /// When there are [`TAPS_MAX`] already.
    pub fn tap(&self, filter: TapFilter) -> Result<TapStream, TooManyTaps> {
        tap::subscribe(&self.0, filter)
    }

    /// Takes away the series of pods that are no longer alive; where a connection of one is still
    /// open, once it closes. To be called when pods went, and again from time to time: a worker
    /// that still reads the last snapshot may bring a series back once. Costs time in proportion
    /// to the pods that had traffic on this node.
    pub fn retain_pods(&self, alive: impl Fn(&PodKey) -> bool) {
        self.0.tcp.series.retain(&alive);
        self.0.http.retain_pods(alive);
    }

    /// Takes away the series of routes that are gone. `alive` is asked with a route's label
    /// (`HTTPRoute/shop/web`). To be called like [`Self::retain_pods`].
    pub fn retain_routes(&self, alive: impl Fn(&str) -> bool) {
        self.0.http.retain_routes(alive);
    }

    /// All metrics in `format`. Takes milliseconds where there are thousands of series: not for a
    /// data-plane thread.
    pub fn expose(&self, format: exposition::Format) -> String {
        exposition::encode(&self.0.registry, format)
    }

    /// Waits until the access log is written and the spans are sent, for at most `limit` each.
    /// Blocks; for the end of a drain.
    pub fn flush(&self, limit: Duration) -> bool {
        let written = self.0.access_log.flush(limit);
        self.0.spans.flush(limit) && written
    }
}

impl Shared {
    fn wants_anything(&self) -> bool {
        self.wanted.load(Relaxed) != 0
    }

    fn wants(&self, what: Wanted) -> bool {
        self.wanted.load(Relaxed) & what as u8 != 0
    }

    fn want(&self, what: Wanted, wanted: bool) {
        if wanted {
            self.wanted.fetch_or(what as u8, Relaxed);
        } else {
            self.wanted.fetch_and(!(what as u8), Relaxed);
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}
