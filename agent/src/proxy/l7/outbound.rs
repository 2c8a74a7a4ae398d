//! The source's half: what a connection of a captured pod's application is for, and what its
//! requests share.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;

use super::{
    body::Body,
    inbound::Inbound,
    pipeline,
    serve::{Handler, Served, Turns},
};
use crate::{
    model::{
        names::ObjectName,
        service::{Endpoint, ServiceState},
    },
    proxy::{pods::LocalPod, worker::Worker},
    telemetry::{ConnectionInfo, Reason, Reporter, SecurityPolicy},
};

/// Destinations of one connection that are remembered with what they need; past it the connection
/// starts anew.
const KNOWN_MAX: usize = 256;

/// A connection from an application, and what it dialled.
pub(in crate::proxy) struct Outbound {
    pub(super) worker: Rc<Worker>,
    pub(super) pod: Rc<LocalPod>,
    pub(super) client: SocketAddr,
    pub(super) dialled: SocketAddr,
    /// The service whose address that is, and its port; `None`: a pod's own address, to which no
    /// route applies.
    pub(super) service: Option<(ObjectName, u16)>,
    known: RefCell<Known>,
}

/// What was worked out for the configuration of this generation.
#[derive(Default)]
struct Known {
    generation: u64,
    /// Captured pods of this node, by endpoint and the service that led there.
    same_node: HashMap<(Endpoint, Option<ObjectName>), Rc<Inbound>>,
}

impl Outbound {
    pub(in crate::proxy) fn new(
        worker: Rc<Worker>,
        pod: Rc<LocalPod>,
        client: SocketAddr,
        dialled: SocketAddr,
        service: Option<(ObjectName, u16)>,
    ) -> Self {
        Self {
            worker,
            pod,
            client,
            dialled,
            service,
            known: RefCell::default(),
        }
    }

    /// What is known of every request at its beginning.
    pub(super) fn peers(&self) -> ConnectionInfo {
        let workload = self.pod.workload();
        let mut peers = ConnectionInfo::new(Reporter::Source, self.client, self.dialled);
        peers.source_principal = Some(workload.identity.clone());
        peers.source = Some(workload);
        peers
    }

    /// What was worked out so far, as far as it still holds.
    fn known<T>(&self, generation: u64, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.borrow_mut();
        if known.generation != generation || known.same_node.len() > KNOWN_MAX {
            *known = Known {
                generation,
                ..Known::default()
            };
        }
        look(&mut known)
    }

    /// The destination's half, where it is on this node as well.
    pub(super) fn same_node(
        &self,
        generation: u64,
        pod: &Rc<LocalPod>,
        endpoint: Endpoint,
        service: Option<&Arc<ServiceState>>,
    ) -> Rc<Inbound> {
        let name = service.map(|service| service.service.name.clone());
        self.known(generation, |known| {
            let made = known.same_node.entry((endpoint, name)).or_insert_with(|| {
                let source = self.pod.workload();
                let destination = pod.workload();
                let mut peers =
                    ConnectionInfo::new(Reporter::Destination, self.client, self.dialled);
                peers.destination_address = SocketAddr::new(endpoint.address, endpoint.port);
                peers.source_principal = Some(source.identity.clone());
                peers.destination_principal = Some(destination.identity.clone());
                peers.source = Some(source);
                peers.destination = Some(destination);
                peers.service = service.cloned();
                peers.security = SecurityPolicy::None;
                Rc::new(Inbound::new(
                    Rc::clone(&self.worker),
                    Rc::clone(pod),
                    peers,
                    None,
                ))
            });
            Rc::clone(made)
        })
    }
}

impl Handler for Outbound {
    fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
        served: Served,
        turns: Turns,
    ) -> impl Future<Output = Response<Body>> + 'static {
        pipeline::answer(self, request, served, turns)
    }

    /// Those that are captured are enrolled.
    fn of_the_mesh(&self) -> bool {
        true
    }

    fn broken(&self, reason: Reason, detail: String) {
        let record = self.worker.telemetry.begin(self.peers());
        record.finish(reason, Some(detail.into()));
    }
}
