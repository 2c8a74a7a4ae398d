//! Active health checks (`TrafficPolicy.healthCheck`).
//!
//! An agent checks the endpoints of the services that its own pods have sent to lately, as the pod
//! that did so last: the checks take the same way as that pod's traffic, with its identity. One
//! thread of the agent makes them all.

use std::{
    cell::Cell,
    cmp::Reverse,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::spawn_local,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    l4, l7,
    pods::LocalPod,
    services::{EndpointState, View},
    worker::Worker,
};
use crate::{
    model::{
        seams::CaptureId,
        traffic_policy::{HealthCheck, HealthCheckBy},
    },
    traffic::health,
};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(100);
/// Checks that one agent has under way; what is due beyond that comes later.
const CHECKS_MAX: usize = 64;
/// Checks that one agent begins within a [`TICK`].
const CHECKS_PER_TICK_MAX: usize = 50;
/// A service that nobody has sent to for so long is not checked.
const USED_WITHIN: Duration = Duration::from_secs(300);

/// Who sent to a service last, and when: its agent checks the service for it.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Seconds and, in the lower half, the pod; zero: never.
    last: AtomicU64,
}

impl Used {
    pub(super) fn by(&self, pod: CaptureId, now: Duration) {
        let last = (now.as_secs() << 32) + u64::from(pod.0) + 1;
        self.last.store(last, Relaxed);
    }

    fn lately(&self, now: Duration) -> Option<CaptureId> {
        let last = self.last.load(Relaxed);
        let pod = u32::try_from((last & u64::from(u32::MAX)).checked_sub(1)?).ok()?;
        let at = Duration::from_secs(last >> 32);
        (now.saturating_sub(at) < USED_WITHIN).then_some(CaptureId(pod))
    }
}

/// When an endpoint is checked next, in nanoseconds; zero: not known yet.
#[derive(Debug, Default)]
pub(super) struct Due(AtomicU64);

impl Due {
    /// For how long it has been time; `None`: it is not.
    fn overdue(&self, check: &HealthCheck, now: Duration, random: u64) -> Option<Duration> {
        let due = Duration::from_nanos(self.0.load(Relaxed));
        // Or it was set when checks were rarer.
        let too_late = now.saturating_add(check.interval.saturating_mul(2));
        if due.is_zero() || due > too_late {
            self.set(now.saturating_add(health::first_in(check.interval, random)));
            return None;
        }
        now.checked_sub(due)
    }

    fn begins(&self, check: &HealthCheck, now: Duration, random: u64) {
        self.set(now.saturating_add(health::next_in(check.interval, random)));
    }

    fn set(&self, at: Duration) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos.max(1), Relaxed);
    }
}

/// What is due, and for how long it has been.
struct Overdue {
    by: Duration,
    pod: Rc<LocalPod>,
    view: Arc<View>,
    state: Arc<EndpointState>,
}

/// Runs for as long as the thread does.
pub(super) async fn run(worker: Rc<Worker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let under_way = Rc::new(Cell::new(0));
    loop {
        ticks.tick().await;
        let mut overdue = all_overdue(&worker);
        let may = CHECKS_PER_TICK_MAX.min(CHECKS_MAX.saturating_sub(under_way.get()));
        if overdue.len() > may {
            worker.metrics.limit_reached("health_checks");
            // Who has waited for longest comes first, so that none waits for ever.
            overdue.sort_unstable_by_key(|overdue| Reverse(overdue.by));
            overdue.truncate(may);
        }
        for overdue in overdue {
            begin(&worker, overdue, &under_way);
        }
    }
}

/// Of the services as they are configured now: nobody may have sent to one since that has changed.
fn all_overdue(worker: &Worker) -> Vec<Overdue> {
    let snapshot = worker.snapshot();
    let mut all = Vec::new();
    for name in worker.shared.services.checked() {
        let Some(service) = snapshot.service(&name) else {
            continue;
        };
        let view = worker.views.of(&snapshot, service);
        let now = view.hub.now();
        let Some(check) = &view.policy.health_check else {
            continue;
        };
        let Some(pod) = view.live.used.lately(now).and_then(|id| worker.pod(id)) else {
            continue;
        };
        for state in view.states() {
            let overdue = state.due.overdue(check, now, worker.balancer.random());
            all.extend(overdue.map(|by| Overdue {
                by,
                pod: Rc::clone(&pod),
                view: Arc::clone(&view),
                state: Arc::clone(state),
            }));
        }
    }
    all
}

fn begin(worker: &Rc<Worker>, overdue: Overdue, under_way: &Rc<Cell<usize>>) {
    let Overdue {
        pod, view, state, ..
    } = overdue;
    if let Some(check) = &view.policy.health_check {
        let random = worker.balancer.random();
        state.due.begins(check, view.hub.now(), random);
    }
    let (worker, counted) = (Rc::clone(worker), UnderWay::new(under_way));
    spawn_local(async move {
        let _counted = counted;
        one(&worker, &pod, &view, &state).await;
    });
}

/// Counts a check, however it ends.
struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn one(worker: &Rc<Worker>, pod: &Rc<LocalPod>, view: &View, state: &EndpointState) {
    let Some(check) = &view.policy.health_check else {
        return;
    };
    let endpoint = state.endpoint();
    let checked = async {
        match &check.by {
            HealthCheckBy::Http { path } => {
                l7::check::http(worker, pod, &view.service, endpoint, path).await
            }
            HealthCheckBy::Grpc { service } => {
                l7::check::grpc(worker, pod, &view.service, endpoint, service).await
            }
            HealthCheckBy::Tcp => {
                l4::reach::check(worker, pod, &view.service, endpoint, check.timeout).await
            }
        }
    };
    let ok = timeout(check.timeout, checked).await.unwrap_or(false);
    worker.metrics.health_check(ok);
    let address = std::net::SocketAddr::new(endpoint.address, endpoint.port);
    let service = &view.service.service.name;
    match worker.shared.services.checked_endpoint(view, state, ok) {
        Some(true) => {
            tracing::info!(%service, endpoint = %address, "passes its health checks again")
        }
        Some(false) => tracing::warn!(%service, endpoint = %address, "fails its health checks"),
        None => {}
    }
}

#[cfg(test)]
mod tests;
