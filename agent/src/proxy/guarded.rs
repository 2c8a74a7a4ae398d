//! What bounds what reaches a pod of this node: `rateLimit` and `concurrency` of the services that
//! the pod is an endpoint of, whoever calls and by whichever address.

use std::{
    cell::RefCell,
    collections::HashMap,
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
    model::{
        protocol::Protocol, service::Endpoint, snapshot::Snapshot, traffic_policy::RateLimitBy,
    },
    telemetry::ConnectionInfo,
};

/// Of the keys of rate limits: nobody outside can choose values that collide.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Ports of pods of which a thread remembers what guards them; past it it starts anew.
const KNOWN_MAX: usize = 4096;

/// What a thread knows of the services with such policies.
#[derive(Default)]
pub(super) struct Guarded {
    known: RefCell<Known>,
}

/// What was worked out for the configuration of this generation.
#[derive(Default)]
struct Known {
    generation: u64,
    by_endpoint: HashMap<Endpoint, Option<Guards>, foldhash::fast::RandomState>,
}

/// The services with such policies that one port of a pod is an endpoint of. There is one at least.
#[derive(Clone)]
pub(super) struct Guards(Rc<[(Arc<View>, Arc<EndpointState>)]>);

/// More than the pod, or its service, takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// Until there is room for one more.
    Rate { retry_after: Duration },
    /// What it works on, and its queue.
    Concurrency { limit: u32, queue: u32 },
}

impl Guarded {
    /// `None` for nearly every pod: nothing guards it.
    pub(super) fn of(&self, worker: &Worker, at: SocketAddr) -> Option<Guards> {
        let snapshot = worker.shared.snapshot.load();
        if snapshot.limited_services().is_empty() {
            return None;
        }
        let mut known = self.known.borrow_mut();
        if known.generation != snapshot.generation || known.by_endpoint.len() >= KNOWN_MAX {
            *known = Known {
                generation: snapshot.generation,
                by_endpoint: HashMap::default(),
            };
        }
        let endpoint = Endpoint {
            address: at.ip(),
            port: at.port(),
        };
        let made = || Guards::of(worker, &snapshot, endpoint);
        let guards = known.by_endpoint.entry(endpoint).or_insert_with(made);
        guards.clone()
    }
}

impl Guards {
    fn of(worker: &Worker, snapshot: &Snapshot, endpoint: Endpoint) -> Option<Self> {
        let services = snapshot.limited_services().values();
        let guards: Rc<[_]> = services
            .filter_map(|service| {
                let mut sets = service.endpoints.iter();
                sets.find(|set| set.endpoints.contains(&endpoint))?;
                let view = worker.views.of(snapshot, service);
                let state = Arc::clone(view.state_of(endpoint)?);
                Some((view, state))
            })
            .collect();
        (!guards.is_empty()).then_some(Self(guards))
    }

    /// `rateLimit` of what is said to be no HTTP, before its application is dialled; `None`: that is
    /// not known yet.
    pub(super) fn limit_opaque(
        &self,
        worker: &Worker,
        peers: &ConnectionInfo,
    ) -> Option<Result<(), Excess>> {
        let port = peers.destination_address.port();
        let mut guards = self.0.iter();
        let is_opaque = guards.any(|(view, _)| view.service.protocol_at(port) == Protocol::Tcp);
        is_opaque.then(|| self.limit_rate(worker, peers, None))
    }

    /// `rateLimit`: one more request, or connection where there are no `headers`.
    pub(super) fn limit_rate(
        &self,
        worker: &Worker,
        peers: &ConnectionInfo,
        headers: Option<&HeaderMap>,
    ) -> Result<(), Excess> {
        for (view, _) in &*self.0 {
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
    pub(super) async fn limit_concurrency(&self, worker: &Worker) -> Result<Vec<Inside>, Excess> {
        let mut places = Vec::new();
        for (view, state) in &*self.0 {
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
