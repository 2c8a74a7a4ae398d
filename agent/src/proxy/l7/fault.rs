//! Failures on purpose (`TrafficPolicy.fault`).

use tokio::time::{Instant, sleep};

use super::{
    answer::Refusal,
    pipeline::{Exchange, Target},
};
use crate::{
    model::traffic_policy::Fault,
    telemetry::{FaultKind, Reason},
    traffic::fault::{self, Injected},
};

/// What this request is to suffer; the first policy that says anything of faults decides.
pub(super) fn of(exchange: &Exchange, target: &Target) -> Option<Injected> {
    let is_set = |fault: &&Fault| fault.delay.is_some() || fault.abort.is_some();
    let mut policies = exchange.policies(target).into_iter().flatten();
    let fault = policies.find_map(|policy| Some(&policy.fault).filter(is_set))?;
    let random = exchange.cx.worker.balancer.random();
    Some(fault::decide(fault, &exchange.request.head.headers, random))
}

pub(super) async fn inject(exchange: &Exchange, injected: Injected) -> Result<(), Refusal> {
    let metrics = &exchange.cx.worker.metrics;
    if let Some(delay) = injected.delay {
        metrics.fault(FaultKind::Delay);
        let ends = Instant::now() + delay;
        match exchange.deadline.filter(|deadline| *deadline < ends) {
            None => sleep(delay).await,
            Some(deadline) => {
                tokio::time::sleep_until(deadline).await;
                return Err(Refusal::new(Reason::RequestTimeout, "delayed on purpose"));
            }
        }
    }
    match injected.abort {
        None => Ok(()),
        Some(answer) => {
            metrics.fault(FaultKind::Abort);
            let mut refusal = Refusal::new(Reason::FaultInjected, "aborted on purpose");
            refusal.answer = Some(answer);
            Err(refusal)
        }
    }
}
