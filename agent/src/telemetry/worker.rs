//! One data-plane thread's end of telemetry.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{
    Shared,
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
}

impl WorkerTelemetry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Rc::new(Worker {
            shared,
            tcp: RefCell::default(),
            http: RefCell::default(),
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
