//! What bounds what reaches a pod of this node: `rateLimit` and `concurrency` of the services that
//! the pod is an endpoint of, whoever calls and by whichever address.

use std::{
    cell::RefCell,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::HeaderMap;

use super::{
    services::{EndpointState, Inside, View},
    worker::Worker,
};
use crate::{
    model::{protocol::Protocol, service::Endpoint, traffic_policy::RateLimitBy},
    telemetry::ConnectionInfo,
};

/// Of the keys of rate limits: nobody outside can choose values that collide.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The services with such policies that one port of a pod is an endpoint of.
#[derive(Default)]
pub(super) struct Guarded {
    known: RefCell<Known>,
}

type Guards = Rc<[(Arc<View>, Arc<EndpointState>)]>;

/// What was worked out for the configuration of this generation.
#[derive(Default)]
struct Known {
    generation: u64,
    by: Option<Guards>,
}

/// More than the pod, or its service, takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// Until there is room for one more.
    Rate { retry_after: Duration },
    /// What it works on, and its queue.
    Concurrency { limit: u32, queue: u32 },
}

impl Guarded {
    fn guards(&self, worker: &Worker, at: SocketAddr) -> Option<Guards> {
        let snapshot = worker.snapshot();
        let mut known = self.known.borrow_mut();
        if known.by.is_none() || known.generation != snapshot.generation {
            let endpoint = Endpoint {
                address: at.ip(),
                port: at.port(),
            };
            let guards = snapshot.limited_services().values().filter_map(|service| {
                let mut sets = service.endpoints.iter();
                sets.find(|set| set.endpoints.contains(&endpoint))?;
                let view = worker.views.of(&snapshot, service);
                let state = Arc::clone(view.state_of(endpoint)?);
                Some((view, state))
            });
            *known = Known {
                generation: snapshot.generation,
                by: Some(guards.collect()),
            };
        }
        known.by.clone().filter(|guards| !guards.is_empty())
    }

    /// `rateLimit` of what is said to be no HTTP, before its application is dialled; `None`: that is
    /// not known yet.
    pub(super) fn limit_opaque(
        &self,
        worker: &Worker,
        peers: &ConnectionInfo,
    ) -> Option<Result<(), Excess>> {
        let at = peers.destination_address;
        let guards = self.guards(worker, at)?;
        let is_opaque = guards
            .iter()
            .any(|(view, _)| view.service.protocol_at(at.port()) == Protocol::Tcp);
        is_opaque.then(|| self.limit_rate(worker, peers, None))
    }

    /// `rateLimit`: one more request, or connection where there are no `headers`.
    pub(super) fn limit_rate(
        &self,
        worker: &Worker,
        peers: &ConnectionInfo,
        headers: Option<&HeaderMap>,
    ) -> Result<(), Excess> {
        let Some(guards) = self.guards(worker, peers.destination_address) else {
            return Ok(());
        };
        for (view, _) in &*guards {
            let now = view.hub.now();
            for (by, limiter) in view.limiters() {
                let (key, label) = match by {
                    RateLimitBy::All => (0, "all"),
                    RateLimitBy::Identity => {
                        let caller = peers.source_principal.as_ref();
                        (
                            KEYS.hash_one(caller.map(|caller| caller.as_str())),
                            "identity",
                        )
                    }
                    RateLimitBy::Header(name) => {
                        let value = headers.and_then(|headers| headers.get(name));
                        (KEYS.hash_one(value.map(|value| value.as_bytes())), "header")
                    }
                };
                if let Err(limited) = limiter.take(key, now) {
                    worker.metrics.rate_limited(label);
                    if limited.crowded {
                        worker.metrics.limit_reached("rate_limit_keys");
                    }
                    return Err(Excess::Rate {
                        retry_after: limited.retry_after,
                    });
                }
            }
        }
        Ok(())
    }

    /// `concurrency`: a place among the requests that the pod works on, if need be after a wait.
    pub(super) async fn limit_concurrency(
        &self,
        worker: &Worker,
        peers: &ConnectionInfo,
    ) -> Result<Vec<Inside>, Excess> {
        let Some(guards) = self.guards(worker, peers.destination_address) else {
            return Ok(Vec::new());
        };
        let mut places = Vec::new();
        for (view, state) in &*guards {
            let Some(concurrency) = view.policy.concurrency else {
                continue;
            };
            let (limit, queue) = (concurrency.limit, concurrency.queue);
            let place = state.concurrency.enter(limit, queue).await;
            places.push(place.map_err(|_full| {
                worker.metrics.request_shed();
                Excess::Concurrency { limit, queue }
            })?);
        }
        Ok(places)
    }
}
