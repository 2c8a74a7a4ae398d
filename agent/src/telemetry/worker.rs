//! One data-plane thread's end of telemetry.

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, RandomState},
    rc::Rc,
    sync::Arc,
};

use super::{
    Shared, Wanted, access_log,
    ended::Ended,
    http::{self, RequestInfo, RequestRecord},
    peers::ConnectionInfo,
    tcp::{self, ConnectionRecord},
};

/// One data-plane thread's end of telemetry. Stays on its thread; clones share its cache.
#[derive(Clone)]
pub struct WorkerTelemetry(pub(super) Rc<Worker>);

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) tcp: RefCell<tcp::Cache>,
    pub(super) http: RefCell<http::Caches>,
    random: Cell<u64>,
}

impl WorkerTelemetry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Rc::new(Worker {
            shared,
            tcp: RefCell::default(),
            http: RefCell::default(),
            // std seeds its hashers at random.
            random: Cell::new(RandomState::new().hash_one(0)),
        }))
    }

    /// A connection was accepted. It counts as active from now on, and as opened once it is
    /// [`ConnectionRecord::established`] or finished.
    pub fn begin(&self, info: ConnectionInfo) -> ConnectionRecord {
        ConnectionRecord::new(Rc::clone(&self.0), info)
    }

    /// [`Self::begin`] for a connection of which everything is known.
    pub fn open(&self, info: ConnectionInfo) -> ConnectionRecord {
        let mut record = self.begin(info);
        record.established();
        record
    }

    /// A request's head was read. It is counted when the record ends.
    pub fn request(&self, info: RequestInfo) -> RequestRecord {
        RequestRecord::new(Rc::clone(&self.0), info)
    }
}

impl Worker {
    /// Uniform, and good enough for ids and samples; not for secrets. SplitMix64.
    pub(super) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Hands what ended to the access log, the span queue and the taps, as each of them wants it.
    /// While none does it costs one load.
    pub(super) fn tell(
        &self,
        peers: &ConnectionInfo,
        failed: bool,
        traced: bool,
        ended: impl FnOnce() -> Ended,
    ) {
        let shared = &self.shared;
        if !shared.wants_anything() {
            return;
        }
        let config = shared
            .wants(Wanted::AccessLog)
            .then(|| shared.config.load());
        let logged = config.filter(|config| {
            let namespace = peers.own().map(|own| &*own.pod.name.namespace);
            let mode = *config.access_log.mode.of(namespace);
            access_log::wants(mode, failed, || self.random())
        });
        let tapped = shared.wants(Wanted::Taps);
        if logged.is_none() && !traced && !tapped {
            return;
        }
        let ended = Arc::new(ended());
        if tapped {
            shared.taps.tell(&ended);
        }
        if traced {
            shared.spans.send(Arc::clone(&ended));
        }
        if let Some(config) = logged {
            shared.access_log.write(ended, Arc::clone(&config));
        }
    }
}
