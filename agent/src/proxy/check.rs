//! Active health checks (`TrafficPolicy.healthCheck`).
//!
//! An agent checks the endpoints of the services that its own pods have sent to lately, as the pod
//! that did so last: the checks take the same way as that pod's traffic, with its identity. One
//! thread of the agent makes them all.

use std::{
    cell::Cell,
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

/// When an endpoint is checked next.
#[derive(Debug, Default)]
pub(super) struct Due(AtomicU64);

impl Due {
    /// Whether it is time; then the next time is set.
    fn is_now(&self, check: &HealthCheck, now: Duration, random: u64) -> bool {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let due = self.0.load(Relaxed);
        if due == 0 {
            let first = now + health::first_in(check.interval, random);
            self.0.store(nanos(first).max(1), Relaxed);
            return false;
        }
        let is_now = nanos(now) >= due;
        if is_now {
            let next = now + health::next_in(check.interval, random);
            self.0.store(nanos(next), Relaxed);
        }
        is_now
    }
}

/// Runs for as long as the thread does.
pub(super) async fn run(worker: Rc<Worker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let under_way = Rc::new(Cell::new(0));
    loop {
        ticks.tick().await;
        let mut begun = 0;
        for view in worker.shared.services.checked() {
            begin_due(&worker, &view, &under_way, &mut begun);
        }
    }
}

fn begin_due(
    worker: &Rc<Worker>,
    view: &Arc<View>,
    under_way: &Rc<Cell<usize>>,
    begun: &mut usize,
) {
    let now = view.hub.now();
    let Some(check) = &view.policy.health_check else {
        return;
    };
    let Some(pod) = view.live.used.lately(now).and_then(|id| worker.pod(id)) else {
        return;
    };
    for state in view.states() {
        if under_way.get() >= CHECKS_MAX || *begun >= CHECKS_PER_TICK_MAX {
            return worker.metrics.limit_reached("health_checks");
        }
        if state.due.is_now(check, now, worker.balancer.random()) {
            *begun += 1;
            under_way.set(under_way.get() + 1);
            let (worker, pod, view) = (Rc::clone(worker), Rc::clone(&pod), Arc::clone(view));
            let (state, under_way) = (Arc::clone(state), Rc::clone(under_way));
            spawn_local(async move {
                one(&worker, &pod, &view, &state).await;
                under_way.set(under_way.get() - 1);
            });
        }
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
                l4::outbound::check(worker, pod, &view.service, endpoint, check.timeout).await
            }
        }
    };
    let ok = timeout(check.timeout, checked).await.unwrap_or(false);
    worker.metrics.health_check(ok);
    let address = std::net::SocketAddr::new(endpoint.address, endpoint.port);
    let service = &view.service.service.name;
    match state.checked(ok, check) {
        Some(true) => {
            tracing::info!(%service, endpoint = %address, "passes its health checks again")
        }
        Some(false) => tracing::warn!(%service, endpoint = %address, "fails its health checks"),
        None => {}
    }
}
