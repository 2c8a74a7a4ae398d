//! What was done to keep services alive: retries, breakers, limits, faults.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    LimitLabel, Metrics,
    families::{OutcomeLabel, family, metric},
};
use crate::{model::names::ObjectName, telemetry::observed::ServicesSource};

/// Services whose breakers' transitions are counted by name; more are counted as `other`.
pub const BREAKER_SERVICES_MAX: usize = 1024;

/// Name and namespace of the services over [`BREAKER_SERVICES_MAX`].
const OTHER: &str = "other";

/// What became of a request's wish to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetryOutcome {
    /// Tried again, with an answer that is good.
    Succeeded,
    /// Tried again, and it failed again.
    Failed,
    /// Not tried again: retries have used up their share of the traffic.
    BudgetExhausted,
    /// Not tried again: more of its body was sent than is kept.
    BodyTooLarge,
    /// Not tried again: it had all its tries.
    AttemptsExhausted,
    /// Not tried again: it is itself a retry, of somebody further up.
    Nested,
}

impl RetryOutcome {
    const ALL: [Self; 6] = [
        Self::Succeeded,
        Self::Failed,
        Self::BudgetExhausted,
        Self::BodyTooLarge,
        Self::AttemptsExhausted,
        Self::Nested,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::BudgetExhausted => "budget_exhausted",
            Self::BodyTooLarge => "body_too_large",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Nested => "nested",
        }
    }
}

/// Which of a TrafficPolicy's `connections` was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PoolLimit {
    Connections,
    Pending,
    Requests,
}

impl PoolLimit {
    const ALL: [Self; 3] = [Self::Connections, Self::Pending, Self::Requests];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
        }
    }
}

/// What a TrafficPolicy's `fault` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FaultKind {
    Delay,
    Abort,
}

impl FaultKind {
    const ALL: [Self; 2] = [Self::Delay, Self::Abort];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Abort => "abort",
        }
    }
}

impl Metrics {
    pub fn retry(&self, outcome: RetryOutcome) {
        self.resilience.retries[outcome as usize].inc();
    }

    /// A breaker of an endpoint of `service` became `to`: `open`, `half_open` or `closed`.
    pub fn breaker_transition(&self, service: &ObjectName, to: &'static str) {
        let transitions = &self.resilience.transitions;
        if transitions.count(service, to) == Counted::AsOther {
            self.limit_reached("breaker_services");
        }
    }

    /// A request or a connection was refused because a pool was full.
    pub fn pool_overflow(&self, limit: PoolLimit) {
        self.resilience.pool_overflows[limit as usize].inc();
    }

    /// `by` is what the `rateLimit` counts by: `all`, `identity` or `header`.
    pub fn rate_limited(&self, by: &'static str) {
        let labels = ByLabel { by };
        self.resilience.rate_limited.get_or_create(&labels).inc();
    }

    /// A request was refused because its pod works on as much as `concurrency` allows.
    pub fn request_shed(&self) {
        self.resilience.shed.inc();
    }

    /// An answer of before was given in place of an error.
    pub fn stale_answer(&self) {
        self.resilience.stale_answers.inc();
    }

    pub fn fault(&self, kind: FaultKind) {
        self.resilience.faults[kind as usize].inc();
    }

    pub fn health_check(&self, ok: bool) {
        let checks = &self.resilience.health_checks;
        if ok { &checks.success } else { &checks.failure }.inc();
    }

    /// Where the state of breakers, pools and queues is read at each scrape. Of each list,
    /// [`SERVICES_OBSERVED_MAX`](crate::telemetry::SERVICES_OBSERVED_MAX) are shown. The first source stays.
    pub fn read_services_from(&self, source: ServicesSource) {
        let limits = self.connections.limits_reached.clone();
        self.observed.set_services(Box::new(move || {
            let mut services = source();
            if services.truncate() {
                let labels = LimitLabel {
                    limit: "services_observed",
                };
                limits.get_or_create(&labels).inc();
            }
            services
        }));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitKind {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLabel {
    by: &'static str,
}

pub(super) struct Resilience {
    /// By `RetryOutcome as usize`.
    retries: [Counter; RetryOutcome::ALL.len()],
    transitions: Transitions,
    /// By `PoolLimit as usize`.
    pool_overflows: [Counter; PoolLimit::ALL.len()],
    rate_limited: Family<ByLabel, Counter>,
    shed: Counter,
    stale_answers: Counter,
    /// By `FaultKind as usize`.
    faults: [Counter; FaultKind::ALL.len()],
    health_checks: HealthChecks,
}

impl Resilience {
    /// What has not come up is exposed as zero: an alert's `rate()` sees the first one.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let retries: Family<OutcomeLabel, Counter> = family(
            registry,
            "weir_retries",
            "What became of requests that were to be tried again",
        );
        let overflows: Family<LimitKind, Counter> = family(
            registry,
            "weir_pool_overflows",
            "Requests and connections refused because a pool was full",
        );
        let rate_limited: Family<ByLabel, Counter> = family(
            registry,
            "weir_rate_limited",
            "Requests and connections refused by a rate limit",
        );
        for by in ["all", "identity", "header"] {
            drop(rate_limited.get_or_create(&ByLabel { by }));
        }
        let faults: Family<Kind, Counter> = family(
            registry,
            "weir_faults_injected",
            "Faults injected on purpose",
        );
        Self {
            retries: RetryOutcome::ALL.map(|outcome| {
                retries.get_or_create_owned(&OutcomeLabel {
                    outcome: outcome.as_str(),
                })
            }),
            transitions: Transitions::register(registry),
            pool_overflows: PoolLimit::ALL.map(|limit| {
                overflows.get_or_create_owned(&LimitKind {
                    limit: limit.as_str(),
                })
            }),
            rate_limited,
            shed: metric(
                registry,
                "weir_requests_shed",
                "Requests refused because their pod works on as much as it may",
            ),
            stale_answers: metric(
                registry,
                "weir_stale_answers",
                "Answers of before that were given in place of an error",
            ),
            faults: FaultKind::ALL.map(|kind| {
                faults.get_or_create_owned(&Kind {
                    kind: kind.as_str(),
                })
            }),
            health_checks: HealthChecks::register(registry),
        }
    }
}

struct HealthChecks {
    success: Counter,
    failure: Counter,
}

impl HealthChecks {
    fn register(registry: &mut Registry) -> Self {
        let checks: Family<OutcomeLabel, Counter> = family(
            registry,
            "weir_health_checks",
            "Health checks of endpoints by this agent",
        );
        let of = |outcome| checks.get_or_create_owned(&OutcomeLabel { outcome });
        Self {
            success: of("success"),
            failure: of("failure"),
        }
    }
}

/// Labels as Istio's metrics have them, so that one query joins both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    destination_service_name: String,
    destination_service_namespace: String,
    to: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    ByName,
    AsOther,
}

struct Transitions {
    counters: Family<TransitionLabels, Counter>,
    named: Mutex<HashSet<ObjectName>>,
}

impl Transitions {
    fn register(registry: &mut Registry) -> Self {
        Self {
            counters: family(
                registry,
                "weir_breaker_transitions",
                "Changes of endpoints' circuit breakers",
            ),
            named: Mutex::default(),
        }
    }

    fn count(&self, service: &ObjectName, to: &'static str) -> Counted {
        let (name, namespace, counted) = if self.names(service) {
            (&*service.name, &*service.namespace, Counted::ByName)
        } else {
            (OTHER, OTHER, Counted::AsOther)
        };
        let labels = TransitionLabels {
            destination_service_name: name.to_owned(),
            destination_service_namespace: namespace.to_owned(),
            to,
        };
        self.counters.get_or_create(&labels).inc();
        counted
    }

    fn names(&self, service: &ObjectName) -> bool {
        // Every change is one insertion: a panic elsewhere leaves nothing half done.
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(service) {
            return true;
        }
        named.len() < BREAKER_SERVICES_MAX && named.insert(service.clone())
    }
}

#[cfg(test)]
mod tests;
