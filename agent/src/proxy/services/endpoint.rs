//! What is known of one endpoint of one service: its breaker, its health, what it works on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;

use super::{Hub, View, gate::Gate};
use crate::{
    model::{names::ObjectName, service::Endpoint, traffic_policy::HealthCheck},
    proxy::check::Due,
    traffic::{
        breaker::{self, Breaker, Outcome, Pass, Phase, Readiness, Transition},
        health::Health,
    },
};

/// Lives as long as the service has the endpoint, whatever else of its configuration changes.
pub(in crate::proxy) struct EndpointState {
    pub(super) endpoint: Endpoint,
    pub(super) breaker: Breaker,
    pub(super) health: Health,
    /// When the service got it; `None`: it had it before this agent looked.
    pub(super) since: Option<Duration>,
    pub(in crate::proxy) due: Due,
    /// Requests that it works on, where the pod is of this node and its policy bounds them.
    pub(in crate::proxy) concurrency: Arc<Gate>,
    counts: Arc<Counts>,
    tally: Mutex<Tally>,
}

/// What an endpoint adds to the [`Counts`] of its set, as long as it is one of those. A request may
/// hold it for hours after it has left.
#[derive(Debug, Default)]
struct Tally {
    /// Whether it may be chosen.
    counts: bool,
    /// One may be closed and opened again before the closing is noted.
    tripped: usize,
    unhealthy: bool,
}

/// How many endpoints of a set, of one family, are not as they should be. Where there is none, a
/// request need not look for them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Endpoints of the set that may be chosen.
    pub(super) total: AtomicUsize,
    /// Breakers that are not closed.
    pub(super) tripped: AtomicUsize,
    pub(super) unhealthy: AtomicUsize,
}

impl Counts {
    pub(super) fn is_none(&self) -> bool {
        self.tripped.load(Relaxed) == 0 && self.unhealthy.load(Relaxed) == 0
    }
}

impl EndpointState {
    pub(super) fn new(endpoint: Endpoint, since: Option<Duration>, counts: &Arc<Counts>) -> Self {
        Self {
            endpoint,
            breaker: Breaker::new(since.unwrap_or_default()),
            health: Health::default(),
            since,
            due: Due::default(),
            concurrency: Arc::default(),
            counts: Arc::clone(counts),
            tally: Mutex::default(),
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is one of those that may be chosen: only they count.
    pub(super) fn set_counts(&self, counts: bool) {
        let mut tally = self.tally();
        if tally.counts == counts {
            return;
        }
        tally.counts = counts;
        let (tripped, unhealthy) = (tally.tripped, usize::from(tally.unhealthy));
        match counts {
            true => {
                self.counts.tripped.fetch_add(tripped, Relaxed);
                self.counts.unhealthy.fetch_add(unhealthy, Relaxed);
            }
            false => {
                self.counts.tripped.fetch_sub(tripped, Relaxed);
                self.counts.unhealthy.fetch_sub(unhealthy, Relaxed);
            }
        }
    }

    /// Takes a place among those that may be open, which is taken at once: others may ask
    /// meanwhile. What may not be chosen any more needs none.
    fn may_open(&self, view: &View) -> bool {
        let counts = &self.counts;
        let one_more = |open: usize| {
            let (total, share) = (counts.total.load(Relaxed), view.breaker.max_ejected_percent);
            breaker::may_open(total, open, share, view.spares_last).then_some(open + 1)
        };
        let mut tally = self.tally();
        let may = !tally.counts
            || counts
                .tripped
                .fetch_update(Relaxed, Relaxed, one_more)
                .is_ok();
        tally.tripped += usize::from(may);
        may
    }

    fn closed(&self) {
        let mut tally = self.tally();
        tally.tripped -= 1;
        if tally.counts {
            self.counts.tripped.fetch_sub(1, Relaxed);
        }
    }

    fn set_unhealthy(&self, tally: &mut Tally, unhealthy: bool) {
        if tally.unhealthy == unhealthy {
            return;
        }
        tally.unhealthy = unhealthy;
        match unhealthy {
            _ if !tally.counts => 0,
            true => self.counts.unhealthy.fetch_add(1, Relaxed),
            false => self.counts.unhealthy.fetch_sub(1, Relaxed),
        };
    }

    pub(in crate::proxy) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The result of an active health check.
    pub(super) fn checked(&self, ok: bool, check: &HealthCheck) -> Option<bool> {
        let mut tally = self.tally();
        let healthy = self.health.record(ok, check)?;
        self.set_unhealthy(&mut tally, !healthy);
        Some(healthy)
    }

    /// Checks are no longer made: nothing is known.
    pub(super) fn forget_health(&self) {
        let mut tally = self.tally();
        self.health.forget();
        self.set_unhealthy(&mut tally, false);
    }
}

impl Drop for EndpointState {
    fn drop(&mut self) {
        self.set_counts(false);
    }
}

/// A request or a connection that an endpoint gets: its breaker is told how it ended.
#[must_use]
pub(in crate::proxy) struct Trial {
    view: Arc<View>,
    state: Arc<EndpointState>,
    /// Taken when it has ended.
    pass: Option<Pass>,
    /// What came so far is an error, however it ends.
    failed: bool,
}

impl Trial {
    /// # Errors
    /// When the breaker is open: for how long yet.
    pub(super) fn begin(
        view: &Arc<View>,
        state: &Arc<EndpointState>,
        now: Duration,
    ) -> Result<Self, Duration> {
        let (pass, transition) = state.breaker.enter(&view.breaker, now)?;
        if let Some(transition) = transition {
            view.transition(state, &transition, now);
        }
        Ok(Self {
            view: Arc::clone(view),
            state: Arc::clone(state),
            pass: Some(pass),
            failed: false,
        })
    }

    /// While half open the first word counts; else an answer is good when it is complete.
    pub(in crate::proxy) fn is_probe(&self) -> bool {
        matches!(self.pass, Some(Pass::Probe(_)))
    }

    /// gRPC says at an answer's end how it went.
    pub(in crate::proxy) fn note_grpc_status(&mut self, status: Option<u16>) {
        self.failed |= self.view.is_error(StatusCode::OK, status);
    }

    pub(in crate::proxy) fn ended(mut self, outcome: Outcome) {
        let outcome = if self.failed { Outcome::Error } else { outcome };
        self.end(Some(outcome));
    }

    fn end(&mut self, outcome: Option<Outcome>) {
        let Some(pass) = self.pass.take() else { return };
        if matches!((&pass, outcome), (Pass::Free(_), None)) {
            return;
        }
        let (view, state) = (&self.view, &self.state);
        let now = view.hub.now();
        let transition = state
            .breaker
            .leave(&view.breaker, pass, outcome, now, || state.may_open(view));
        if let Some(transition) = transition {
            view.transition(state, &transition, now);
        }
    }
}

impl Drop for Trial {
    /// Neither good nor bad: the client gave up.
    fn drop(&mut self) {
        self.end(None);
    }
}

impl View {
    /// What the breaker counts as one, of what an endpoint answered.
    pub(in crate::proxy) fn is_error(&self, status: StatusCode, grpc: Option<u16>) -> bool {
        breaker::is_error(&self.breaker, status, grpc)
    }

    fn transition(&self, state: &EndpointState, transition: &Transition, now: Duration) {
        if transition.to == Phase::Closed {
            state.closed();
        }
        self.hub
            .transition(&self.service.service.name, state.endpoint, transition, now);
    }
}

/// One change of a breaker, for who looks at it later.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub(super) at: Duration,
    pub(super) service: ObjectName,
    pub(super) endpoint: Endpoint,
    pub(super) from: Phase,
    pub(super) to: Phase,
}

impl Hub {
    fn transition(
        &self,
        service: &ObjectName,
        endpoint: Endpoint,
        transition: &Transition,
        now: Duration,
    ) {
        let Transition {
            from, to, open_for, ..
        } = transition;
        let (from, to) = (*from, *to);
        let address = std::net::SocketAddr::new(endpoint.address, endpoint.port);
        match to {
            Phase::Open => {
                let open_for = open_for.unwrap_or_default();
                tracing::warn!(%service, endpoint = %address, ?open_for, "circuit breaker opened");
            }
            Phase::HalfOpen => {
                tracing::info!(%service, endpoint = %address, "circuit breaker half open: it tries again");
            }
            Phase::Closed => {
                tracing::info!(%service, endpoint = %address, "circuit breaker closed");
            }
        }
        self.metrics.breaker_transition(service, to.as_str());
        self.remember(Happened {
            at: now,
            service: service.clone(),
            endpoint,
            from,
            to,
        });
    }
}

/// Whether an endpoint may be sent to.
pub(super) enum Fitness {
    Fit,
    /// Its breaker wants to know whether it works again.
    Probe,
    Tripped {
        retry_in: Duration,
    },
    Unhealthy,
}

impl EndpointState {
    pub(super) fn fitness(&self, view: &View, now: Duration) -> Fitness {
        if self.health.is_unhealthy() {
            return Fitness::Unhealthy;
        }
        match self.breaker.readiness(&view.breaker, now) {
            Readiness::Closed => Fitness::Fit,
            Readiness::Probe => Fitness::Probe,
            Readiness::Refused { retry_in } => Fitness::Tripped { retry_in },
        }
    }
}
