//! How long a request may take: the rule's `timeouts`, a TrafficPolicy's, gRPC's own deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pipeline::{Exchange, Target};
use crate::{
    telemetry::Reason,
    traffic::{deadline, retry::Retries},
};

impl Exchange {
    pub(super) fn start_the_clock(&mut self, target: &Target) {
        let rules_own = self.rule().and_then(|rule| rule.rule().timeouts.request);
        let policies = self.policies(target);
        let of_policies = || {
            policies
                .into_iter()
                .flatten()
                .find_map(|p| p.timeouts.request)
        };
        let limit = rules_own
            .or_else(of_policies)
            .filter(|limit| !limit.is_zero());
        let asked = self
            .grpc
            .then(|| deadline::of_grpc(&self.request.head.headers))
            .flatten();
        let limit = limit.into_iter().chain(asked).min();
        self.deadline = limit.map(|limit| self.began + limit);
    }

    /// `timeouts.idle`, where a policy says anything of it.
    pub(super) fn idle_timeout(&self, target: &Target) -> Option<Duration> {
        let policies = self.policies(target).into_iter().flatten();
        let mut said = policies.filter_map(|policy| policy.timeouts.idle);
        said.next().filter(|limit| !limit.is_zero())
    }

    /// Completes once nothing of the request has passed for `timeouts.idle`.
    pub(super) fn idle(&self, target: &Target) -> Option<impl Future<Output = ()> + use<>> {
        let limit = self.idle_timeout(target)?;
        let received = self.received.clone();
        Some(async move {
            let passed = || received.as_ref().map_or(0, |received| received.bytes());
            loop {
                let before = passed();
                sleep(limit).await;
                if passed() == before {
                    return;
                }
            }
        })
    }

    /// `timeouts.backendRequest` of the rule, else `retries.perTryTimeout`.
    pub(super) fn per_try_timeout(&self, retries: &Retries<'_>) -> Option<Duration> {
        let rules_own = self
            .rule()
            .and_then(|rule| rule.rule().timeouts.backend_request);
        let limit = rules_own.or(retries.per_try_timeout);
        limit.filter(|limit| !limit.is_zero())
    }

    /// Which of the two limits a deadline is.
    pub(super) fn timeout_reason(&self, until: Option<Instant>) -> Reason {
        if until.is_some() && until == self.deadline {
            Reason::RequestTimeout
        } else {
            Reason::BackendTimeout
        }
    }
}
