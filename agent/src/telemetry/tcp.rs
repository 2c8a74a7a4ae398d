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

mod labels;
mod series;

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{Hash, Hasher},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

pub(super) use self::{labels::service_host, series::Registry};
use self::{
    labels::{Peer, PeerWorkload, TrafficLabels},
    series::Series,
};
pub use self::{
    labels::{Reporter, SecurityPolicy},
    series::{LABEL_SETS_MAX, PodKey},
};
use super::{Shared, access_log::Entry, reason::Reason};
use crate::model::{
    pod::Workload,
    service::{Service, ServiceState},
    spiffe::SpiffeId,
};

/// Resolved label sets that one worker remembers. Past it the worker starts anew.
const CACHE_ENTRIES_MAX: usize = 4096;

/// What is known of a connection. What is found out later is set on the record.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    pub reporter: Reporter,
    pub source: Option<Arc<Workload>>,
    pub source_address: SocketAddr,
    /// From the peer's certificate, or for reporter source the workload's own identity, and only
    /// if the connection is protected by it.
    pub source_principal: Option<SpiffeId>,
    /// The address that the client dialled.
    pub original_destination: SocketAddr,
    pub service: Option<Arc<ServiceState>>,
    pub destination: Option<Arc<Workload>>,
    /// The endpoint; until there is one, the original destination.
    pub destination_address: SocketAddr,
    pub destination_principal: Option<SpiffeId>,
    pub security: SecurityPolicy,
}

impl ConnectionInfo {
    /// A connection of which only the addresses are known.
    pub fn new(
        reporter: Reporter,
        source_address: SocketAddr,
        original_destination: SocketAddr,
    ) -> Self {
        Self {
            reporter,
            source: None,
            source_address,
            source_principal: None,
            original_destination,
            service: None,
            destination: None,
            destination_address: original_destination,
            destination_principal: None,
            security: SecurityPolicy::None,
        }
    }

    fn labels(&self) -> TrafficLabels {
        let peer = |workload: &Option<Arc<Workload>>, principal: &Option<SpiffeId>| Peer {
            workload: workload.as_deref().map(PeerWorkload::of),
            principal: principal.clone(),
        };
        TrafficLabels {
            reporter: self.reporter,
            source: peer(&self.source, &self.source_principal),
            destination: peer(&self.destination, &self.destination_principal),
            service: self
                .service
                .as_ref()
                .map(|state| state.service.name.clone()),
            security: Some(self.security),
        }
    }
}

/// One data-plane thread's end of telemetry. Stays on its thread; clones share its cache.
#[derive(Clone)]
pub struct WorkerTelemetry(Rc<Worker>);

struct Worker {
    shared: Arc<Shared>,
    cache: RefCell<Cache>,
}

#[derive(Default)]
struct Cache {
    generation: u64,
    series: HashMap<CacheKey, Arc<Series>>,
}

impl WorkerTelemetry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Rc::new(Worker {
            shared,
            cache: RefCell::default(),
        }))
    }

    /// A connection was accepted. It counts as active from now on, and as opened once it is
    /// [`ConnectionRecord::established`] or finished.
    pub fn begin(&self, info: ConnectionInfo) -> ConnectionRecord {
        let shared = &self.0.shared;
        shared.metrics.connection_began();
        ConnectionRecord {
            worker: Rc::clone(&self.0),
            info,
            began: shared.clock.now(),
            began_wall: shared.clock.wall(),
            series: None,
            sent: Cell::new(0),
            received: Cell::new(0),
            policy: None,
            finished: false,
        }
    }

    /// [`Self::begin`] for a connection of which everything is known.
    pub fn open(&self, info: ConnectionInfo) -> ConnectionRecord {
        let mut record = self.begin(info);
        record.established();
        record
    }
}

impl Worker {
    /// The counters for a connection, with the connection counted as open.
    fn open_series(&self, info: &ConnectionInfo) -> Arc<Series> {
        let registry = &self.shared.tcp;
        let mut cache = self.cache.borrow_mut();
        let generation = registry.generation();
        if cache.generation != generation || cache.series.len() >= CACHE_ENTRIES_MAX {
            cache.series.clear();
            cache.generation = generation;
        }
        let key = CacheKey::of(info);
        if let Some(series) = cache.series.get(&key).filter(|series| series.try_open()) {
            return Arc::clone(series);
        }
        // Ends: a series is detached only after its pods went, and resolving names them again.
        let series = loop {
            let series = registry.resolve(
                info.labels(),
                info.source.as_deref(),
                info.destination.as_deref(),
            );
            if series.try_open() {
                break series;
            }
        };
        cache.series.insert(key, Arc::clone(&series));
        series
    }
}

/// Finds a label set without building it: the objects of the model by address, which they keep
/// while the key holds them.
struct CacheKey {
    reporter: Reporter,
    source: Option<Arc<Workload>>,
    destination: Option<Arc<Workload>>,
    service: Option<Arc<Service>>,
    source_principal: Option<SpiffeId>,
    destination_principal: Option<SpiffeId>,
    security: SecurityPolicy,
}

impl CacheKey {
    fn of(info: &ConnectionInfo) -> Self {
        Self {
            reporter: info.reporter,
            source: info.source.clone(),
            destination: info.destination.clone(),
            // Not the ServiceState, which is new with every change of its endpoints.
            service: info
                .service
                .as_ref()
                .map(|state| Arc::clone(&state.service)),
            source_principal: info.source_principal.clone(),
            destination_principal: info.destination_principal.clone(),
            security: info.security,
        }
    }
}

fn address<T>(object: &Option<Arc<T>>) -> usize {
    object
        .as_ref()
        .map_or(0, |object| Arc::as_ptr(object).addr())
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.reporter == other.reporter
            && self.security == other.security
            && address(&self.source) == address(&other.source)
            && address(&self.destination) == address(&other.destination)
            && address(&self.service) == address(&other.service)
            && self.source_principal == other.source_principal
            && self.destination_principal == other.destination_principal
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Principals mostly follow from the workloads; leaving them to `eq` keeps this short.
        state.write_u8((self.reporter as u8) << 1 | self.security as u8);
        state.write_usize(address(&self.source));
        state.write_usize(address(&self.destination));
        state.write_usize(address(&self.service));
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
        series.add_sent(self.sent.get());
        series.add_received(self.received.get());
        self.series = Some(series);
    }

    /// Bytes passed in response: from the destination to the source.
    pub fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        if let Some(series) = &self.series {
            series.add_sent(bytes);
        }
    }

    /// Bytes passed in request: from the source to the destination.
    pub fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        if let Some(series) = &self.series {
            series.add_received(bytes);
        }
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
            shared.tcp.close(series, reason);
        }
        shared.metrics.connection_ended(reason);
        if shared.access_log.wants(reason) {
            shared.access_log.write(Entry {
                time: self.began_wall,
                duration: shared.clock.now().saturating_duration_since(self.began),
                info: self.info.clone(),
                reason,
                detail,
                policy: self.policy.clone(),
                bytes_sent: self.sent.get(),
                bytes_received: self.received.get(),
            });
        }
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

#[cfg(test)]
mod tests;
