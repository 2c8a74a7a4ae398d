//! What this agent knows of each service beside its configuration: whom its breakers leave alone,
//! what is under way, what its retries may still cost.
//!
//! [`Services`] is one for all threads. A thread keeps the [`View`]s that it uses, so that a
//! request takes no lock: a view is one service as it is configured now, with the states that
//! outlive any configuration.

mod choose;
mod endpoint;
mod gate;
mod held;
mod report;
mod stale;

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::{sync::Notify, time::Instant};

use self::{
    choose::Choosing,
    endpoint::{Counts, Happened},
    stale::Stale,
};
pub(in crate::proxy) use self::{
    choose::{Unfit, Wanted},
    endpoint::{EndpointState, Trial},
    gate::{Gate, Inside},
    held::Held,
};
use crate::{
    model::{
        names::ObjectName,
        service::{Endpoint, EndpointSet, ServiceState},
        snapshot::Snapshot,
        status::TRANSITIONS_KEPT_MAX,
        traffic_policy::{
            CONNECT_TIMEOUT, CONNECTIONS, CircuitBreaker, PENDING, Policy, REQUESTS, RateLimitBy,
        },
    },
    proxy::check::Used,
    telemetry::Metrics,
    traffic::{budget::Budget, rate_limit::Limiter},
};

/// All services that this agent has sent to, or guards pods of.
pub struct Services {
    pub(in crate::proxy) hub: Arc<Hub>,
    /// The place of the agent's node.
    node: Arc<str>,
    entries: Mutex<HashMap<ObjectName, Latest>>,
    /// A thread makes the health checks.
    checker: AtomicBool,
}

/// The view of a service that counts.
struct Latest {
    /// Of the snapshot that it was made for first.
    generation: u64,
    view: Arc<View>,
}

/// What the states of all services share.
pub(in crate::proxy) struct Hub {
    started: Instant,
    pub(in crate::proxy) metrics: Arc<Metrics>,
    transitions: Mutex<VecDeque<Happened>>,
    pub(in crate::proxy) stale: Stale,
    /// Somebody waits for a connection to a service that has as many as it may: idle ones of it
    /// are to be closed.
    pub(in crate::proxy) wanted: Notify,
    /// Of bodies ([`Held`]).
    held_bytes: AtomicUsize,
}

impl Hub {
    /// Since a start that is one for all threads.
    pub(in crate::proxy) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn remember(&self, happened: Happened) {
        let mut transitions = self
            .transitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if transitions.len() >= TRANSITIONS_KEPT_MAX {
            transitions.pop_front();
        }
        transitions.push_back(happened);
    }
}

/// What outlives a service's configuration.
#[derive(Default)]
pub(in crate::proxy) struct Live {
    pub(in crate::proxy) budget: Budget,
    pub(in crate::proxy) connections: Arc<Gate>,
    pub(in crate::proxy) requests: Arc<Gate>,
    pub(in crate::proxy) used: Used,
}

/// A service as it is configured now.
pub(in crate::proxy) struct View {
    pub(in crate::proxy) hub: Arc<Hub>,
    pub(in crate::proxy) service: Arc<ServiceState>,
    pub(in crate::proxy) policy: Arc<Policy>,
    pub(in crate::proxy) live: Arc<Live>,
    breaker: CircuitBreaker,
    /// The last closed endpoint stays closed.
    spares_last: bool,
    /// In the order of the service's ports.
    sets: Vec<Set>,
    /// In the order of the policy's.
    limiters: Arc<[(RateLimitBy, Limiter)]>,
    zone: Option<Arc<str>>,
}

/// One port's endpoints.
struct Set {
    of: Arc<EndpointSet>,
    /// In the order of `of.endpoints`.
    states: Vec<Arc<EndpointState>>,
    /// Of the IPv4 endpoints and of the IPv6 ones: who dials one family has no use for the other.
    counts: [Arc<Counts>; 2],
    choosing: Choosing,
}

/// What is bounded by a service's `connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Bounds {
    pub(in crate::proxy) connections: u32,
    pub(in crate::proxy) pending: u32,
    pub(in crate::proxy) requests: u32,
}

impl View {
    pub(in crate::proxy) fn bounds(&self) -> Bounds {
        let limits = &self.policy.connections;
        Bounds {
            connections: limits.max.unwrap_or(CONNECTIONS),
            pending: limits.pending.unwrap_or(PENDING),
            requests: limits.requests.unwrap_or(REQUESTS),
        }
    }

    /// `timeouts.connect`; zero is no limit of its own.
    pub(in crate::proxy) fn connect_timeout(&self) -> Duration {
        let limit = self
            .policy
            .timeouts
            .connect
            .filter(|limit| !limit.is_zero());
        limit.unwrap_or(CONNECT_TIMEOUT)
    }

    /// `timeouts.idle`, where the policy says anything of it; zero is for ever.
    pub(in crate::proxy) fn idle_timeout(&self) -> Option<Duration> {
        self.policy.timeouts.idle
    }

    pub(in crate::proxy) fn limiters(&self) -> &[(RateLimitBy, Limiter)] {
        &self.limiters
    }

    /// The state of an endpoint, whichever port it is behind.
    pub(in crate::proxy) fn state_of(&self, endpoint: Endpoint) -> Option<&Arc<EndpointState>> {
        let states = self.sets.iter().flat_map(|set| &set.states);
        let mut of_endpoint = states.filter(|state| state.endpoint == endpoint);
        of_endpoint.next()
    }

    pub(in crate::proxy) fn states(&self) -> impl Iterator<Item = &Arc<EndpointState>> {
        self.sets.iter().flat_map(|set| &set.states)
    }

    pub(in crate::proxy) fn is_unhealthy(&self, endpoint: Endpoint) -> bool {
        let state = self.state_of(endpoint);
        state.is_some_and(|state| state.health.is_unhealthy())
    }

    /// # Errors
    /// When the endpoint's breaker is open: for how long yet.
    pub(in crate::proxy) fn try_endpoint(
        self: &Arc<Self>,
        endpoint: Endpoint,
    ) -> Result<Option<Trial>, Duration> {
        match self.state_of(endpoint) {
            Some(state) => Trial::begin(self, state, self.hub.now()).map(Some),
            None => Ok(None),
        }
    }

    fn set_of_port(&self, name: &str) -> Option<&Set> {
        let ports = self.service.service.ports.iter();
        let mut sets = ports.zip(&self.sets);
        sets.find(|(port, _)| &*port.name == name)
            .map(|(_, set)| set)
    }

    fn is_of(&self, service: &Arc<ServiceState>, zone: Option<&Arc<str>>) -> bool {
        Arc::ptr_eq(&self.service, service) && self.zone.as_ref() == zone
    }
}

impl Services {
    pub fn new(metrics: Arc<Metrics>, node: Arc<str>) -> Self {
        Self {
            hub: Arc::new(Hub {
                started: Instant::now(),
                metrics,
                transitions: Mutex::default(),
                stale: Stale::default(),
                wanted: Notify::new(),
                held_bytes: AtomicUsize::new(0),
            }),
            node,
            entries: Mutex::default(),
            checker: AtomicBool::new(false),
        }
    }

    /// The view of `service` as a snapshot of that generation has it, and whether it is the latest
    /// one; what it had before lives on in it.
    ///
    /// A thread that was interrupted may come with the snapshot before the latest one. What it gets
    /// is for it alone: were it kept, the endpoints that are new would be made twice.
    fn view(
        &self,
        generation: u64,
        service: &Arc<ServiceState>,
        zone: Option<&Arc<str>>,
    ) -> (Arc<View>, bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &service.service.name;
        let latest = entries.get(name);
        if let Some(latest) = latest.filter(|latest| latest.view.is_of(service, zone)) {
            return (Arc::clone(&latest.view), true);
        }
        let before = latest.map(|latest| &*latest.view);
        let view = Arc::new(self.make(service, zone, before));
        if latest.is_some_and(|latest| generation < latest.generation) {
            return (view, false);
        }
        self.takes_effect(&view, before);
        let latest = Latest {
            generation,
            view: Arc::clone(&view),
        };
        entries.insert(name.clone(), latest);
        (view, true)
    }

    /// What changes for all threads with the view that follows `before`.
    fn takes_effect(&self, view: &View, before: Option<&View>) {
        view.sets.iter().for_each(Set::count);
        if let Some(before) = before {
            let kept: HashSet<*const EndpointState, RandomState> =
                view.states().map(Arc::as_ptr).collect();
            let left = before.states().filter(|s| !kept.contains(&Arc::as_ptr(s)));
            left.for_each(|state| state.set_counts(false));
            if before.service.policy != view.service.policy {
                // What may be answered in its place may have changed.
                self.hub.stale.flush_service(&view.service.service.name);
            }
        }
        if view.policy.health_check.is_none() {
            view.states().for_each(|state| state.forget_health());
        }
    }

    /// Changes nothing that others see.
    fn make(
        &self,
        service: &Arc<ServiceState>,
        zone: Option<&Arc<str>>,
        before: Option<&View>,
    ) -> View {
        let now = self.hub.now();
        let live = before.map_or_else(Arc::default, |before| Arc::clone(&before.live));
        let policy = service.policy.clone().unwrap_or_default();
        let sets = service.service.ports.iter().zip(&service.endpoints);
        let sets: Vec<Set> = sets
            .map(|(port, of)| {
                let before = before.and_then(|before| before.set_of_port(&port.name));
                let counts = before.map_or_else(Default::default, |set| set.counts.clone());
                let states = states_of(of, before, &counts, now);
                let choosing = Choosing::new(service, of, &policy, (&self.node, zone), &states);
                Set {
                    of: Arc::clone(of),
                    states,
                    counts,
                    choosing,
                }
            })
            .collect();
        let is_same = |before: &&View| before.policy.rate_limits == policy.rate_limits;
        let limiters = before.filter(is_same).map_or_else(
            || {
                let limits = policy.rate_limits.iter();
                limits
                    .map(|limit| (limit.by.clone(), Limiter::new(limit.clone())))
                    .collect()
            },
            |before| Arc::clone(&before.limiters),
        );
        View {
            hub: Arc::clone(&self.hub),
            breaker: policy.circuit_breaker.clone().unwrap_or_default(),
            spares_last: policy.circuit_breaker.is_none(),
            sets,
            limiters,
            zone: zone.cloned(),
            service: Arc::clone(service),
            policy,
            live,
        }
    }

    /// Once a second: forgets the services that are no longer there.
    fn sweep(&self, snapshot: &Snapshot) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|name, _| snapshot.service(name).is_some());
    }

    /// The names of the services with health checks.
    pub(in crate::proxy) fn checked(&self) -> Vec<ObjectName> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = entries
            .iter()
            .filter(|(_, latest)| latest.view.policy.health_check.is_some());
        checked.map(|(name, _)| name.clone()).collect()
    }

    /// The result of a health check that was begun with `view`: what it says now of the endpoint, if
    /// that has changed. Once the service is checked in another way or not at all it says nothing:
    /// no later check would correct it.
    pub(in crate::proxy) fn checked_endpoint(
        &self,
        view: &View,
        state: &EndpointState,
        ok: bool,
    ) -> Option<bool> {
        let check = view.policy.health_check.as_ref()?;
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = entries.get(&view.service.service.name)?;
        let same = latest.view.policy.health_check.as_ref() == Some(check);
        same.then(|| state.checked(ok, check))?
    }

    /// Whether the caller is to make the health checks: the first that asks.
    pub(in crate::proxy) fn claim_checks(&self) -> bool {
        !self.checker.swap(true, Relaxed)
    }

    fn views(&self) -> Vec<Arc<View>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let views = entries.values().map(|latest| Arc::clone(&latest.view));
        views.collect()
    }
}

impl Set {
    /// Its endpoints as they count from now on: those that somebody may choose.
    fn count(&self) {
        let usable = [false, true].map(|ipv6| self.of.usable_range(ipv6));
        let mut totals = [0, 0];
        for (index, state) in self.states.iter().enumerate() {
            let counts = usable.iter().any(|usable| usable.contains(&index));
            totals[usize::from(state.endpoint.address.is_ipv6())] += usize::from(counts);
            state.set_counts(counts);
        }
        for (counts, total) in self.counts.iter().zip(totals) {
            counts.total.store(total, Relaxed);
        }
    }
}

/// The states of a set's endpoints; those that were there before stay as they are.
fn states_of(
    of: &EndpointSet,
    before: Option<&Set>,
    counts: &[Arc<Counts>; 2],
    now: Duration,
) -> Vec<Arc<EndpointState>> {
    // What was there before the agent looked has started long ago.
    let since = before.map(|_| now);
    let before = before.into_iter().flat_map(|set| &set.states);
    let before: HashMap<Endpoint, &Arc<EndpointState>, RandomState> =
        before.map(|state| (state.endpoint, state)).collect();
    let state_of = |endpoint: &Endpoint| match before.get(endpoint) {
        Some(state) => Arc::clone(state),
        None => {
            let counts = &counts[usize::from(endpoint.address.is_ipv6())];
            Arc::new(EndpointState::new(*endpoint, since, counts))
        }
    };
    of.endpoints.iter().map(state_of).collect()
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// The views that one thread uses.
pub(in crate::proxy) struct Views {
    services: Arc<Services>,
    known: RefCell<HashMap<ObjectName, Arc<View>, RandomState>>,
}

impl Views {
    pub(in crate::proxy) fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            known: RefCell::default(),
        }
    }

    pub(in crate::proxy) fn hub(&self) -> &Arc<Hub> {
        &self.services.hub
    }

    pub(in crate::proxy) fn of(
        &self,
        snapshot: &Snapshot,
        service: &Arc<ServiceState>,
    ) -> Arc<View> {
        let zone = snapshot.zone.as_ref();
        let name = &service.service.name;
        let mut known = self.known.borrow_mut();
        if let Some(view) = known.get(name).filter(|view| view.is_of(service, zone)) {
            return Arc::clone(view);
        }
        let (view, is_latest) = self.services.view(snapshot.generation, service, zone);
        if is_latest {
            known.insert(name.clone(), Arc::clone(&view));
        }
        view
    }

    /// Once a second.
    pub(in crate::proxy) fn sweep(&self, snapshot: &Snapshot) {
        self.known.borrow_mut().retain(|name, view| {
            let service = snapshot.service(name);
            service.is_some_and(|service| Arc::ptr_eq(service, &view.service))
        });
        self.services.sweep(snapshot);
    }
}

#[cfg(test)]
pub(in crate::proxy) mod testing;
#[cfg(test)]
mod tests;
