//! What people and metrics are told of the services.

use std::{net::SocketAddr, sync::PoisonError, time::Duration};

use super::{EndpointState, Services, View, endpoint::Happened};
use crate::{
    model::{
        service::Endpoint,
        status::{EndpointStatus, ServiceStatus, ServicesStatus, TransitionStatus},
    },
    telemetry::{BreakerObserved, PoolObserved, ServicesObserved},
    traffic::breaker::Phase,
};

impl Services {
    /// For `weir status`.
    pub fn status(&self) -> ServicesStatus {
        let now = self.hub.now();
        // Each lock for itself, and not for longer than it takes: requests wait for it.
        let services = self.views();
        let transitions = self.hub.transitions.lock();
        let transitions = transitions
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|past| past.status(now))
            .collect();
        ServicesStatus {
            services: services.iter().map(|view| view.status(now)).collect(),
            transitions,
        }
    }

    /// For a scrape.
    pub fn observed(&self) -> ServicesObserved {
        let mut observed = ServicesObserved::default();
        for view in self.views() {
            view.observe(&mut observed);
        }
        let (bytes, answers) = self.hub.stale.size();
        observed.stale_bytes = bytes as u64;
        observed.stale_answers_kept = answers as u64;
        observed
    }
}

impl View {
    fn status(&self, now: Duration) -> ServiceStatus {
        let (bounds, live) = (self.bounds(), &self.live);
        ServiceStatus {
            service: self.service.service.name.clone(),
            endpoints: self.states().map(|state| state.status(now)).collect(),
            requests: live.requests.inside(),
            requests_max: bounds.requests,
            connections: live.connections.inside(),
            connections_max: bounds.connections,
            pending: live.connections.waiting(),
            pending_max: bounds.pending,
        }
    }

    fn observe(&self, observed: &mut ServicesObserved) {
        let name = &self.service.service.name;
        let mut unhealthy = 0;
        for state in self.states() {
            unhealthy += u64::from(state.health.is_unhealthy());
            observed.queued += u64::from(state.concurrency.waiting());
            let (phase, _) = state.breaker.phase();
            if phase != Phase::Closed {
                observed.breakers.push(BreakerObserved {
                    service: name.clone(),
                    endpoint: address(state.endpoint),
                    state: phase.as_str(),
                });
            }
        }
        if unhealthy > 0 {
            observed.unhealthy.push((name.clone(), unhealthy));
        }
        let pool = PoolObserved {
            service: name.clone(),
            connections: self.live.connections.inside().into(),
            pending: self.live.connections.waiting().into(),
            requests: self.live.requests.inside().into(),
        };
        if pool.connections + pool.pending + pool.requests > 0 {
            observed.pools.push(pool);
        }
    }
}

impl EndpointState {
    fn status(&self, now: Duration) -> EndpointStatus {
        let (phase, since) = self.breaker.phase();
        EndpointStatus {
            address: address(self.endpoint),
            breaker: phase.as_str(),
            since: now.saturating_sub(since),
            open_for: (phase == Phase::Open).then(|| self.breaker.opened_for()),
            healthy: !self.health.is_unhealthy(),
        }
    }
}

impl Happened {
    fn status(&self, now: Duration) -> TransitionStatus {
        TransitionStatus {
            ago: now.saturating_sub(self.at),
            service: self.service.clone(),
            endpoint: address(self.endpoint),
            from: self.from.as_str(),
            to: self.to.as_str(),
        }
    }
}

fn address(endpoint: Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.address, endpoint.port)
}
