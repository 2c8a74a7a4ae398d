//! What is told of a TCP connection: Istio's standard TCP metrics and the access log.
//!
//! A worker begins a [`ConnectionRecord`] when it accepts a connection, fills in what it learns,
//! says [`ConnectionRecord::established`] when the endpoint stands, adds bytes as they pass and
//! finishes with a [`Reason`]. The path of the bytes has neither lock nor hashing: the counters
//! are found once for a connection.
//!
//! `istio_tcp_sent_bytes_total` are the bytes sent *in response* (destination to source) and
//! `istio_tcp_received_bytes_total` those received *in request* (source to destination), for both
//! reporters alike (<https://istio.io/latest/docs/reference/config/metrics/>).

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use super::{
    ended::{self, Ended},
    labels::{CommonLabels, Exposed, Outcome, Reporter, TrafficLabels},
    peers::{ConnectionInfo, PeersKey, PeersQuery},
    reason::{Reason, ResponseFlags},
    series::{self, Counters, LabelSet},
    worker::Worker,
};

/// Label sets of TCP traffic, of four to fifteen time series each. Past it, new sets are counted
/// together, with every label `unknown`.
pub const LABEL_SETS_MAX: usize = 10_000;

pub(super) type Cache = series::Cache<PeersKey, TrafficLabels>;
type Series = series::Series<TrafficLabels>;

/// What is counted of connections with the same labels.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounters {
    opened: AtomicU64,
    /// By `ResponseFlags as usize`.
    closed: [AtomicU64; ResponseFlags::ALL.len()],
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters for ConnectionCounters {
    fn used(&self) -> bool {
        self.opened.load(Relaxed) > 0
    }
}

impl LabelSet for TrafficLabels {
    type Counters = ConnectionCounters;

    fn reporter(&self) -> Reporter {
        self.reporter
    }

    fn overflow(reporter: Reporter) -> Self {
        Self::unknown(reporter)
    }
}

impl Worker {
    /// The counters for a connection, with the connection counted as open.
    fn open_series(&self, info: &ConnectionInfo) -> Arc<Series> {
        let registry = &self.shared.tcp.series;
        let mut cache = self.tcp.borrow_mut();
        let cached = cache.get(registry, &PeersQuery(info));
        if let Some(series) = cached.filter(|series| series.try_hold()) {
            series.counters.opened.fetch_add(1, Relaxed);
            return Arc::clone(series);
        }
        // Ends: a series is detached only after its pods went, and resolving names them again.
        let series = loop {
            let series = registry.resolve(info.labels(), info.ends());
            if series.try_hold() {
                break series;
            }
        };
        series.counters.opened.fetch_add(1, Relaxed);
        cache.insert(PeersKey::of(info), &series);
        series
    }
}

/// One connection, from accept to its end. Dropped without [`Self::finish`] it counts as
/// [`Reason::Internal`]: the task that served it panicked or forgot.
#[must_use = "a record that is dropped counts as an internal error"]
pub struct ConnectionRecord {
    worker: Rc<Worker>,
    info: ConnectionInfo,
    began: Instant,
    began_wall: SystemTime,
    series: Option<Arc<Series>>,
    sent: Cell<u64>,
    received: Cell<u64>,
    policy: Option<Arc<str>>,
    finished: bool,
}

impl ConnectionRecord {
    pub(super) fn new(worker: Rc<Worker>, info: ConnectionInfo) -> Self {
        worker.shared.metrics.connection_began();
        let clock = &worker.shared.clock;
        Self {
            began: clock.now(),
            began_wall: clock.wall(),
            worker,
            info,
            series: None,
            sent: Cell::new(0),
            received: Cell::new(0),
            policy: None,
            finished: false,
        }
    }

    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Where what was not known at first is set. The labels are read once, by
    /// [`Self::established`] or the end; what is set later shows in the access log only.
    pub fn info_mut(&mut self) -> &mut ConnectionInfo {
        &mut self.info
    }

    /// The name of the policy that decided (`namespace/name`), for the access log.
    pub fn set_policy(&mut self, name: Arc<str>) {
        self.policy = Some(name);
    }

    /// The endpoint stands: counts the connection as opened. Once; further calls do nothing.
    pub fn established(&mut self) {
        if self.series.is_some() {
            return;
        }
        let series = self.worker.open_series(&self.info);
        if series.is_overflow() {
            self.worker.shared.metrics.series_overflowed();
        }
        let counters = &series.counters;
        counters.sent.fetch_add(self.sent.get(), Relaxed);
        counters.received.fetch_add(self.received.get(), Relaxed);
        self.series = Some(series);
    }

    /// Bytes passed in response: from the destination to the source.
    pub fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        if let Some(series) = &self.series {
            series.counters.sent.fetch_add(bytes, Relaxed);
        }
    }

    /// Bytes passed in request: from the source to the destination.
    pub fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        if let Some(series) = &self.series {
            series.counters.received.fetch_add(bytes, Relaxed);
        }
    }

    /// It turned out to carry HTTP: from now on its requests are told of, one by one.
    pub fn dismiss(mut self) -> ConnectionInfo {
        self.finished = true;
        self.worker.shared.metrics.connection_dismissed();
        self.info.clone()
    }

    /// The connection is over. `detail` is for people (an errno, a peer's status, a kind of TLS
    /// failure): never content of the connection, a header or a key.
    pub fn finish(mut self, reason: Reason, detail: Option<Cow<'static, str>>) {
        self.end(reason, detail);
    }

    fn end(&mut self, reason: Reason, detail: Option<Cow<'static, str>>) {
        self.finished = true;
        // One that failed before its endpoint stood counts as well, opened and closed.
        self.established();
        let shared = &self.worker.shared;
        if let Some(series) = &self.series {
            let closed = &series.counters.closed[reason.flags() as usize];
            closed.fetch_add(1, Relaxed);
            shared.tcp.series.release(series);
        }
        shared.metrics.connection_ended(reason);
        let failed = ended::failed(reason, None, None);
        self.worker.tell(&self.info, failed, false, || Ended {
            time: self.began_wall,
            duration: shared.clock.now().saturating_duration_since(self.began),
            peers: self.info.clone(),
            reason,
            detail,
            policy: self.policy.clone(),
            bytes_sent: self.sent.get(),
            bytes_received: self.received.get(),
            request: None,
        });
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if !self.finished {
            self.end(
                Reason::Internal,
                Some("the record was dropped before its end".into()),
            );
        }
    }
}

/// Istio's TCP metrics of all connections.
pub(super) struct ConnectionMetrics {
    common: CommonLabels,
    pub(super) series: series::Registry<TrafficLabels>,
}

impl ConnectionMetrics {
    pub(super) fn new(common: CommonLabels, label_sets_max: usize) -> Self {
        Self {
            common,
            series: series::Registry::new(label_sets_max),
        }
    }
}

impl fmt::Debug for ConnectionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionMetrics").finish_non_exhaustive()
    }
}

impl Collector for ConnectionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.series.exposed();
        let mut counter = |name, help, value: &dyn Fn(&Series, ResponseFlags) -> Option<u64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for series in &all {
                for flags in ResponseFlags::ALL {
                    let Some(value) = value(series, flags) else {
                        continue;
                    };
                    let outcome = Outcome {
                        protocol: "tcp",
                        codes: None,
                        flags: flags.as_str(),
                    };
                    let labels = Exposed::new(&self.common, &series.labels, outcome);
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
            Ok::<(), fmt::Error>(())
        };
        let plain =
            |flags, value: &AtomicU64| (flags == ResponseFlags::None).then(|| value.load(Relaxed));
        counter(
            "istio_tcp_connections_opened",
            "TCP connections opened.",
            &|series, flags| plain(flags, &series.counters.opened),
        )?;
        counter(
            "istio_tcp_connections_closed",
            "TCP connections closed, by how they ended.",
            &|series, flags| {
                let count = series.counters.closed[flags as usize].load(Relaxed);
                (count > 0 || flags == ResponseFlags::None).then_some(count)
            },
        )?;
        counter(
            "istio_tcp_sent_bytes",
            "Bytes sent in response: from the destination to the source.",
            &|series, flags| plain(flags, &series.counters.sent),
        )?;
        counter(
            "istio_tcp_received_bytes",
            "Bytes received in request: from the source to the destination.",
            &|series, flags| plain(flags, &series.counters.received),
        )
    }
}

#[cfg(test)]
mod tests;
