//! Services with endpoints and policies for the tests of this module.

use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::{
    model::{
        seams::SystemClock,
        service::{Place, Service, ServicePort},
        traffic_policy::Locality,
    },
    proxy::l7::balance::Balancer,
    telemetry::{Settings, Telemetry},
};

pub(super) const NODE: &str = "here";
pub(super) const ZONE: &str = "a";

pub(in crate::proxy) fn services() -> Arc<Services> {
    let telemetry = Telemetry::new(Settings::default(), Arc::new(SystemClock)).unwrap();
    let metrics = Arc::clone(telemetry.metrics());
    Arc::new(Services::new(metrics, NODE.into()))
}

pub(super) fn at(address: &str) -> Endpoint {
    let address: SocketAddr = address.parse().unwrap();
    Endpoint {
        address: address.ip(),
        port: address.port(),
    }
}

/// Ready and draining ones; of each, IPv4 comes first.
pub(super) fn set(ready: &[&str], draining: &[&str]) -> EndpointSet {
    let endpoints = ready.iter().chain(draining).map(|address| at(address));
    EndpointSet {
        endpoints: endpoints.collect(),
        ready: ready.len(),
        ..EndpointSet::default()
    }
}

pub(super) fn place(node: &str, zone: &str, weight: Option<u16>) -> Place {
    Place {
        node: Some(node.into()),
        zone: Some(zone.into()),
        weight,
    }
}

pub(super) fn a_service() -> Service {
    Service {
        name: ObjectName::new("shop", "web"),
        vips: Vec::new(),
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            app_protocol: None,
        }],
        distribution: Locality::None,
        node_local: false,
    }
}

pub(super) fn state(
    service: Service,
    set: EndpointSet,
    policy: Option<Policy>,
) -> Arc<ServiceState> {
    Arc::new(ServiceState {
        service: Arc::new(service),
        endpoints: vec![Arc::new(set)],
        policy: policy.map(Arc::new),
    })
}

pub(super) fn web(set: EndpointSet, policy: Option<Policy>) -> Arc<ServiceState> {
    state(a_service(), set, policy)
}

impl Services {
    /// Of the snapshot of that generation.
    pub(super) fn now_at(&self, generation: u64, service: &Arc<ServiceState>) -> Arc<View> {
        self.view(generation, service, Some(&ZONE.into())).0
    }

    /// The first one.
    pub(super) fn of(&self, service: &Arc<ServiceState>) -> Arc<View> {
        self.now_at(1, service)
    }
}

impl View {
    pub(super) fn chooses(
        self: &Arc<Self>,
        balancer: &Balancer,
        wanted: &Wanted<'_>,
    ) -> Result<(Endpoint, Trial), Unfit> {
        let set = Arc::clone(&self.service.endpoints[0]);
        self.choose(&set, balancer, wanted)
    }

    pub(super) fn state_at(&self, address: &str) -> &Arc<EndpointState> {
        self.state_of(at(address)).unwrap()
    }

    /// A request to it fails.
    pub(super) fn fails(self: &Arc<Self>, address: &str) {
        let trial = self.try_endpoint(at(address)).unwrap().unwrap();
        trial.ended(crate::traffic::breaker::Outcome::Error);
    }

    /// Of IPv4: usable, not closed, unhealthy.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let counts = &self.sets[0].counts[0];
        (
            counts.total.load(Relaxed),
            counts.tripped.load(Relaxed),
            counts.unhealthy.load(Relaxed),
        )
    }
}

/// What anybody wants who dials IPv4.
pub(super) fn anybody() -> Wanted<'static> {
    Wanted {
        ipv6: false,
        tried: &[],
        hash: None,
        connection: false,
    }
}
