//! Who talks to whom: the ends of a connection, and how their counters are found quickly.

use std::{
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

use hashbrown::Equivalent;

use super::{
    labels::{Peer, PeerWorkload, Reporter, SecurityPolicy, TrafficLabels},
    series::Ends,
};
use crate::model::{
    pod::Workload,
    service::{Service, ServiceState},
    spiffe::SpiffeId,
};

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
    /// The name that the client's own TLS asks for, where that is passed through.
    pub sni: Option<Arc<str>>,
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
            sni: None,
        }
    }

    pub(super) fn labels(&self) -> TrafficLabels {
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

    /// The end whose agent tells.
    pub(super) fn own(&self) -> Option<&Workload> {
        match self.reporter {
            Reporter::Source => self.source.as_deref(),
            Reporter::Destination => self.destination.as_deref(),
        }
    }

    pub(super) fn ends(&self) -> Ends<'_> {
        Ends {
            source: self.source.as_deref(),
            destination: self.destination.as_deref(),
        }
    }

    /// What a [`PeersKey`] is found by: the addresses of the model's objects. Principals mostly
    /// follow from the workloads; leaving them to the comparison keeps the hash short.
    fn fingerprint(&self) -> [usize; 4] {
        [
            (self.reporter as usize) << 1 | self.security as usize,
            address(self.source.as_ref()),
            address(self.destination.as_ref()),
            // Not the ServiceState, which is new with every change of its endpoints.
            address(self.service.as_ref().map(|state| &state.service)),
        ]
    }
}

/// Finds a label set without building it: the objects of the model by address, which they keep
/// while the key holds them.
pub(super) struct PeersKey {
    fingerprint: [usize; 4],
    source_principal: Option<SpiffeId>,
    destination_principal: Option<SpiffeId>,
    _source: Option<Arc<Workload>>,
    _destination: Option<Arc<Workload>>,
    _service: Option<Arc<Service>>,
}

impl PeersKey {
    pub(super) fn of(info: &ConnectionInfo) -> Self {
        let service = info.service.as_ref().map(|state| &state.service);
        Self {
            fingerprint: info.fingerprint(),
            source_principal: info.source_principal.clone(),
            destination_principal: info.destination_principal.clone(),
            _source: info.source.clone(),
            _destination: info.destination.clone(),
            _service: service.cloned(),
        }
    }
}

fn address<T>(object: Option<&Arc<T>>) -> usize {
    object.map_or(0, |object| Arc::as_ptr(object).addr())
}

impl PartialEq for PeersKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.source_principal == other.source_principal
            && self.destination_principal == other.destination_principal
    }
}

impl Eq for PeersKey {}

impl Hash for PeersKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// A [`PeersKey`] to look for, which holds nothing.
pub(super) struct PeersQuery<'a>(pub(super) &'a ConnectionInfo);

impl Hash for PeersQuery<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fingerprint().hash(state);
    }
}

impl Equivalent<PeersKey> for PeersQuery<'_> {
    fn equivalent(&self, key: &PeersKey) -> bool {
        self.0.fingerprint() == key.fingerprint
            && self.0.source_principal == key.source_principal
            && self.0.destination_principal == key.destination_principal
    }
}
