//! Sending a request until an endpoint answers it well, as long as its policy allows.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use http::Method;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    answer::Refusal,
    body::Keep,
    mirror,
    pipeline::{Exchange, Target},
    pool::Version,
    send::{self, Sent},
};
use crate::{
    model::{
        route::ResolvedRule,
        service::Endpoint,
        traffic_policy::{Policy, RetryPolicy},
    },
    proxy::services::{Held, Inside, Trial, Unfit, View, Wanted},
    telemetry::{PoolLimit, Reason, RetryOutcome},
    traffic::{
        balance::hash_key,
        breaker::Outcome,
        retry::{self, Retries, Tried, depth},
    },
};

/// Endpoints that are dialled one after the other where none is reached, without a retry being
/// counted: nothing was sent.
const ENDPOINTS_TRIED_MAX: usize = 3;
/// A `retry-after` that is longer is not waited for: the client is told instead.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// For how long the rest of an answer is read that nobody will see, so that its connection can
/// be used again.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What decides on the retries of one request, kept apart from the exchange that it changes.
struct Layers {
    rule: Option<Arc<ResolvedRule>>,
    view: Option<Arc<View>>,
    dialled: Option<Arc<Policy>>,
}

impl Layers {
    fn of(exchange: &Exchange, target: &Target) -> Self {
        Self {
            rule: exchange.rule().cloned(),
            view: target.view.clone(),
            dialled: exchange.dialled_policy.clone(),
        }
    }

    /// The rule's own word, that of policies on the rule, on the backend, on what was dialled.
    fn retries(&self) -> Retries<'_> {
        let rule = self.rule.as_ref();
        let layers: [Option<&RetryPolicy>; 4] = [
            rule.map(|rule| &rule.rule().retries),
            rule.and_then(|rule| rule.policy.as_ref())
                .map(|policy| &policy.retries),
            self.view.as_ref().map(|view| &view.policy.retries),
            self.dialled.as_ref().map(|policy| &policy.retries),
        ];
        Retries::of(layers.into_iter().flatten())
    }
}

/// How one try ended.
struct Try {
    outcome: Result<Sent, Refusal>,
    tried: Option<Tried>,
    /// `None`: there was none to be tried.
    endpoint: Option<Endpoint>,
    /// When this try's whole answer must have come.
    until: Option<Instant>,
}

/// An answer, and until when the rest of it must have come.
pub(super) async fn send(
    exchange: &mut Exchange,
    target: &Target,
) -> Result<(Sent, Option<Instant>), Refusal> {
    let layers = Layers::of(exchange, target);
    let mut retries = layers.retries();
    if exchange.is_mirror {
        retries.attempts = 0;
    }
    let under_way = match &target.view {
        Some(view) => Some(admit(view)?),
        None => None,
    };
    if target.http2 {
        exchange.request.version = Version::Http2;
    }
    let http2 = exchange.request.version == Version::Http2;
    if exchange.request.becomes.is_none() && retries.needs_replay(http2) {
        let held = Held::new(exchange.cx.worker.views.hub());
        exchange.request.keep(retries.buffer_bytes, held);
    }
    let mut going = Going {
        inherited: depth::read(&exchange.request.head.headers),
        method: exchange.request.head.method.clone(),
        hash: hash_of(exchange, target),
        retries,
        tried: Vec::new(),
        failovers: 0,
        retried: 0,
    };
    if let Some(view) = &target.view {
        let now = view.hub.now();
        view.live.budget.request(now);
        if view.policy.health_check.is_some() {
            view.live.used.by(exchange.cx.pod.id, now);
        }
    }
    loop {
        // Its end must not be there during the wait: the task would have room for both.
        let wait = {
            let ended = going.attempt(exchange, target).await;
            match going.again(exchange, target, &ended) {
                None => return going.settle(exchange, ended, under_way),
                Some(wait) => {
                    discard(ended.outcome);
                    wait
                }
            }
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
        exchange.request.go_again();
        if going.retried > 0 {
            let depth = going.inherited.saturating_add(going.retried);
            depth::write(&mut exchange.request.head.headers, depth);
        }
    }
}

async fn or_never(done: Option<impl Future<Output = ()>>) {
    match done {
        Some(done) => done.await,
        None => pending().await,
    }
}

/// `connections.requests`.
fn admit(view: &Arc<View>) -> Result<Inside, Refusal> {
    let max = view.bounds().requests;
    view.live.requests.try_enter(max).ok_or_else(|| {
        view.hub.metrics.pool_overflow(PoolLimit::Requests);
        let detail = format!(
            "{max} requests are under way to {}",
            view.service.service.name
        );
        Refusal::new(Reason::PoolFull, detail)
    })
}

fn hash_of(exchange: &Exchange, target: &Target) -> Option<u64> {
    let hash_on = target.view.as_ref()?.hash_on()?;
    let headers = &exchange.request.head.headers;
    hash_key::of(hash_on, headers, exchange.cx.client.ip())
}

/// A request on its way through its tries.
struct Going<'p> {
    retries: Retries<'p>,
    /// What the request is of a retry further up.
    inherited: u32,
    method: Method,
    hash: Option<u64>,
    tried: Vec<Endpoint>,
    /// Other endpoints that were dialled because one was not reached.
    failovers: usize,
    retried: u32,
}

impl Going<'_> {
    async fn attempt(&mut self, exchange: &mut Exchange, target: &Target) -> Try {
        let per_try = exchange.per_try_timeout(&self.retries);
        let try_ends = per_try.map(|limit| Instant::now() + limit);
        let until = match (exchange.deadline, try_ends) {
            (Some(whole), Some(one)) => Some(whole.min(one)),
            (whole, one) => whole.or(one),
        };
        let (endpoint, trial) = match self.choose(exchange, target) {
            Ok(chosen) => chosen,
            Err(refusal) => {
                return Try {
                    outcome: Err(refusal),
                    tried: None,
                    endpoint: None,
                    until,
                };
            }
        };
        let idle = exchange.idle(target);
        let sent = {
            // Where it lies is where it stays: handed on, the task would have room for it twice.
            let mut sending = pin!(send::to(exchange, target, endpoint));
            tokio::select! {
                biased;
                sent = &mut sending => Some(sent),
                () = or_never(until.map(sleep_until)) => None,
                () = or_never(idle) => {
                    Some(Err(Refusal::new(Reason::IdleTimeout, "nothing passed")))
                }
            }
        };
        let outcome = sent.unwrap_or_else(|| {
            let reason = exchange.timeout_reason(until);
            Err(Refusal::new(reason, "no answer in time"))
        });
        self.judged(exchange, target, (endpoint, trial), outcome, until)
    }

    /// An endpoint that was not tried yet, if there is one; else any.
    fn choose(
        &self,
        exchange: &Exchange,
        target: &Target,
    ) -> Result<(Endpoint, Option<Trial>), Refusal> {
        let pinned = target.pinned.filter(|_| self.tried.is_empty());
        let Some(view) = &target.view else {
            let only = pinned.or_else(|| target.endpoints.endpoints.first().copied());
            let none = || Refusal::new(Reason::NoHealthyEndpoint, "there is none");
            return only.map(|only| (only, None)).ok_or_else(none);
        };
        // A session goes elsewhere while its endpoint fails its health checks.
        let pinned = pinned.filter(|pinned| !view.is_unhealthy(*pinned));
        if let Some(pinned) = pinned.or(target.only) {
            return match view.try_endpoint(pinned) {
                Ok(trial) => Ok((pinned, trial)),
                Err(retry_in) if target.only.is_some() => Err(tripped(retry_in)),
                Err(_) => self.of_set(exchange, target, view),
            };
        }
        self.of_set(exchange, target, view)
    }

    fn of_set(
        &self,
        exchange: &Exchange,
        target: &Target,
        view: &Arc<View>,
    ) -> Result<(Endpoint, Option<Trial>), Refusal> {
        let balancer = &exchange.cx.worker.balancer;
        let mut wanted = Wanted {
            ipv6: exchange.cx.dialled.is_ipv6(),
            tried: &self.tried,
            hash: self.hash,
            connection: false,
        };
        let mut chosen = view.choose(&target.endpoints, balancer, &wanted);
        if chosen.as_ref().is_err() && !self.tried.is_empty() {
            wanted.tried = &[];
            chosen = view.choose(&target.endpoints, balancer, &wanted);
        }
        match chosen {
            Ok((endpoint, trial)) => Ok((endpoint, Some(trial))),
            Err(Unfit::Tripped { retry_in }) => Err(tripped(retry_in)),
            Err(Unfit::None | Unfit::AllTried) => {
                Err(Refusal::new(Reason::NoHealthyEndpoint, "there is none"))
            }
        }
    }

    /// What the breaker makes of it, and what a retry depends on.
    fn judged(
        &self,
        exchange: &Exchange,
        target: &Target,
        (endpoint, trial): (Endpoint, Option<Trial>),
        mut outcome: Result<Sent, Refusal>,
        until: Option<Instant>,
    ) -> Try {
        let tried = match &outcome {
            Ok(sent) if sent.failed.is_some_and(|failed| failed.unprocessed) => {
                Some(Tried::Refused)
            }
            Ok(sent) => Some(Tried::Answered {
                status: sent.response.status(),
                grpc: sent.grpc_status().map(u32::from),
            }),
            Err(refusal) => tried_of(refusal, exchange.request.is_unsent()),
        };
        if let Some(trial) = trial {
            match &mut outcome {
                Ok(sent) => sent.judge(target, trial),
                Err(refusal) => {
                    let waited = exchange.request.is_unsent() && is_pool_full(target);
                    match is_endpoints_fault(refusal.reason) && !waited {
                        true => trial.ended(Outcome::Error),
                        false => drop(trial),
                    }
                }
            }
        }
        Try {
            outcome,
            tried,
            endpoint: Some(endpoint),
            until,
        }
    }

    /// How long to wait for another try; `None`: this was the last.
    fn again(&mut self, exchange: &Exchange, target: &Target, ended: &Try) -> Option<Duration> {
        let tried = ended.tried.as_ref()?;
        let unsent = matches!(tried, Tried::Unsent);
        let may_again = self.retries.again(*tried, &self.method, exchange.grpc);
        if !unsent && !may_again {
            return None; // as nearly every request
        }
        self.tried.extend(ended.endpoint);
        if unsent && self.fails_over(exchange, target) {
            self.failovers += 1;
            return Some(Duration::ZERO);
        }
        if !may_again {
            return None;
        }
        let metrics = &exchange.cx.worker.metrics;
        let used = self.retried.saturating_add(self.failovers as u32);
        if used >= self.retries.attempts {
            if self.retries.attempts > 0 {
                metrics.retry(RetryOutcome::AttemptsExhausted);
            }
            return None;
        }
        if self.inherited > 0 && !unsent {
            metrics.retry(RetryOutcome::Nested);
            return None;
        }
        if !exchange.request.can_go_again() {
            metrics.retry(RetryOutcome::BodyTooLarge);
            return None;
        }
        let wait = self.wait(exchange, ended)?;
        if exchange
            .deadline
            .is_some_and(|deadline| Instant::now() + wait >= deadline)
        {
            return None;
        }
        if let Some(view) = &target.view {
            let (percent, least) = (
                self.retries.budget_percent,
                self.retries.budget_min_per_second,
            );
            if !view.live.budget.try_retry(percent, least, view.hub.now()) {
                metrics.retry(RetryOutcome::BudgetExhausted);
                return None;
            }
        }
        self.retried += 1;
        Some(wait)
    }

    /// Whether there is another endpoint to dial at once.
    fn fails_over(&self, exchange: &Exchange, target: &Target) -> bool {
        let usable = target.endpoints.usable(exchange.cx.dialled.is_ipv6());
        self.failovers + 1 < ENDPOINTS_TRIED_MAX
            && usable.iter().any(|other| !self.tried.contains(other))
    }

    fn wait(&self, exchange: &Exchange, ended: &Try) -> Option<Duration> {
        let worker = &exchange.cx.worker;
        let asked = match &ended.outcome {
            Ok(sent) => retry::retry_after(sent.response.headers(), worker.unix_seconds()),
            Err(refusal) => refusal.retry_after,
        };
        match asked {
            Some(asked) => (asked <= RETRY_AFTER_MAX).then_some(asked),
            None => Some(
                self.retries
                    .backoff(self.retried + 1, worker.balancer.random()),
            ),
        }
    }

    fn settle(
        &self,
        exchange: &Exchange,
        ended: Try,
        under_way: Option<Inside>,
    ) -> Result<(Sent, Option<Instant>), Refusal> {
        exchange.request.is_settled();
        if self.retried > 0 {
            let good = match &ended.tried {
                Some(tried) => !self.retries.again(*tried, &self.method, exchange.grpc),
                None => false,
            };
            exchange.cx.worker.metrics.retry(match good {
                true => RetryOutcome::Succeeded,
                false => RetryOutcome::Failed,
            });
        }
        let mut sent = ended.outcome?;
        sent.under_way = under_way;
        Ok((sent, ended.until))
    }
}

/// A request that was not sent then has waited for a place: the endpoint has heard nothing of it.
fn is_pool_full(target: &Target) -> bool {
    target
        .view
        .as_ref()
        .is_some_and(|view| view.live.connections.inside() >= view.bounds().connections)
}

pub(super) fn tripped(retry_in: Duration) -> Refusal {
    Refusal::new(Reason::BreakerOpen, "every endpoint failed too often").retry_after(retry_in)
}

/// What a failed try is to a retry; `None`: not to be tried again, whatever the policy says.
fn tried_of(refusal: &Refusal, unsent: bool) -> Option<Tried> {
    match refusal.reason {
        Reason::RateLimited | Reason::Overloaded => Some(Tried::Answered {
            status: refusal.reason.http_status(),
            grpc: None,
        }),
        Reason::PoolFull
        | Reason::BreakerOpen
        | Reason::PolicyDenied
        | Reason::FaultInjected
        | Reason::NoHealthyEndpoint
        | Reason::RequestTimeout
        | Reason::BadRequest
        | Reason::LimitReached
        | Reason::DownstreamReset => None,
        Reason::BackendTimeout | Reason::IdleTimeout => Some(Tried::TimedOut),
        _ if unsent => Some(Tried::Unsent),
        _ if refusal.unprocessed => Some(Tried::Refused),
        _ => Some(Tried::Reset),
    }
}

/// Whether a breaker counts it.
pub(in crate::proxy) fn is_endpoints_fault(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectTimeout
            | Reason::ConnectRefused
            | Reason::ConnectFailed
            | Reason::TunnelConnectTimeout
            | Reason::TunnelRefused
            | Reason::TlsIdentityMismatch
            | Reason::TlsHandshakeFailed
            | Reason::TlsHandshakeTimeout
            | Reason::HboneRefused
            | Reason::TunnelReset
            | Reason::UpstreamReset
            | Reason::UpstreamProtocol
            | Reason::RequestTimeout
            | Reason::BackendTimeout
            | Reason::IdleTimeout
    )
}

/// An answer that nobody will see: read to its end, so that its connection can be used again.
pub(super) fn discard(outcome: Result<Sent, Refusal>) {
    let Ok(sent) = outcome else { return };
    spawn_local(async move {
        let read = mirror::discard(sent.response.into_body());
        if timeout(DISCARD_TIMEOUT, read).await.is_ok()
            && let Keep::Lease(lease) = sent.keep
        {
            lease.give_back();
        }
    });
}
