//! `circuitBreaker`: an endpoint that fails is left alone, then tried by a few requests, then used
//! again (Nygard, "Release It!").
//!
//! ```text
//!            errors                 time is over
//!  Closed ───────────────► Open ───────────────────► HalfOpen
//!    ▲                      ▲                          │  │
//!    │                      └──── a probe fails ───────┘  │
//!    └─────────────────────────── probes succeed ─────────┘
//! ```
//!
//! A request that finds the breaker closed and succeeds reads one atomic; what happens while it is
//! not closed is settled under a lock.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::{
    nanos::nanos,
    window::{Counts, SLOTS, Window},
};
use crate::model::traffic_policy::CircuitBreaker;
use http::StatusCode;

mod word;

use word::Word;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Closed,
    Open,
    /// Probes find out whether the endpoint is well.
    HalfOpen,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What an event, a log line and a metric say of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: Phase,
    pub to: Phase,
    pub cause: Cause,
    /// Of [`Phase::Open`]: for how long.
    pub open_for: Option<Duration>,
    /// How long the phase lasted that is over.
    pub lasted: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// So many errors in a row.
    ConsecutiveErrors(u32),
    /// So many of the window's requests failed.
    ErrorShare {
        errors: u64,
        requests: u64,
    },
    /// The time for which it was open is over.
    TimeOver,
    ProbeFailed,
    ProbesSucceeded,
}

/// Whether an endpoint may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Closed,
    /// The request would be a probe: half open with room, or open and its time is over.
    Probe,
    /// Zero: as soon as the probes that are under way have ended.
    Refused {
        retry_in: Duration,
    },
}

/// What a request holds that the breaker let through; it is given back with [`Breaker::leave`],
/// whatever becomes of the request: a probe's room is taken until then.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    Free(Epoch),
    Probe(Epoch),
}

/// In which of its breaker's phases a request began: once that is over, its result is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// What `circuitBreaker` counts as one.
    Error,
}

/// Of one endpoint of a service. Its policy is passed along, so that it may change.
///
/// Times are since any start that is one for all threads, whose clocks may be a little behind each
/// other.
#[derive(Debug)]
pub struct Breaker {
    /// [`Word`]: all that a healthy request needs.
    word: AtomicU64,
    /// When the phase began, in nanoseconds.
    since: AtomicU64,
    /// Of an open one: when it may be probed, in nanoseconds.
    until: AtomicU64,
    /// Under way. Those of an earlier phase have their room too: the endpoint is still at them.
    probes: AtomicU32,
    /// Of the closed phase, where the policy has `errorPercent`.
    window: Window,
    /// Every transition and every probe holds it.
    recovery: Mutex<Recovery>,
}

/// Known while it is not closed.
#[derive(Debug, Default)]
struct Recovery {
    /// For how long it was opened last.
    open_for: Duration,
    /// End of the first probe that succeeded.
    succeeding_since: Option<Duration>,
}

impl Breaker {
    /// A closed one.
    pub fn new(now: Duration) -> Self {
        Self {
            word: AtomicU64::default(),
            since: AtomicU64::new(nanos(now)),
            until: AtomicU64::default(),
            probes: AtomicU32::default(),
            window: Window::default(),
            recovery: Mutex::default(),
        }
    }

    /// Cheap, and changes nothing: for choosing among endpoints.
    pub fn readiness(&self, policy: &CircuitBreaker, now: Duration) -> Readiness {
        let phase = Word::unpack(self.word.load(Relaxed)).phase;
        let retry_in = match phase {
            Phase::Closed => return Readiness::Closed,
            Phase::Open => self.open_for(now),
            Phase::HalfOpen => Duration::ZERO,
        };
        match retry_in.is_zero() && self.has_room(policy) {
            true => Readiness::Probe,
            false => Readiness::Refused { retry_in },
        }
    }

    /// Lets a request through.
    ///
    /// # Errors
    /// When it may not pass, in what time another one may: as [`Readiness::Refused`].
    pub fn enter(
        &self,
        policy: &CircuitBreaker,
        now: Duration,
    ) -> Result<(Pass, Option<Transition>), Duration> {
        let Word { phase, epoch, .. } = Word::unpack(self.word.load(Relaxed));
        match phase {
            Phase::Closed => Ok((Pass::Free(Epoch(epoch)), None)),
            Phase::Open | Phase::HalfOpen => self.enter_locked(policy, now),
        }
    }

    #[cold]
    fn enter_locked(
        &self,
        policy: &CircuitBreaker,
        now: Duration,
    ) -> Result<(Pass, Option<Transition>), Duration> {
        let mut recovery = self.lock();
        let mut word = self.word();
        let retry_in = match word.phase {
            // While this thread waited for the lock.
            Phase::Closed => return Ok((Pass::Free(Epoch(word.epoch)), None)),
            Phase::Open => self.open_for(now),
            Phase::HalfOpen => Duration::ZERO,
        };
        if !retry_in.is_zero() || !self.has_room(policy) {
            return Err(retry_in);
        }
        let transition = (word.phase == Phase::Open).then(|| {
            recovery.succeeding_since = None;
            self.begin(&mut word, Phase::HalfOpen, Cause::TimeOver, now)
        });
        self.probes.fetch_add(1, Relaxed);
        Ok((Pass::Probe(Epoch(word.epoch)), transition))
    }

    /// The request has ended; without an outcome it was cancelled, which says nothing of the
    /// endpoint.
    ///
    /// `may_open` is asked when everything else wants a closed breaker to open, and once it says so
    /// it does: a place among the service's open endpoints may be taken there ([`may_open`]), to be
    /// given back at the transition to [`Phase::Closed`]. It is called with this breaker locked and
    /// must not use it, save for [`Breaker::phase`].
    pub fn leave(
        &self,
        policy: &CircuitBreaker,
        pass: Pass,
        outcome: Option<Outcome>,
        now: Duration,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Transition> {
        let epoch = match pass {
            Pass::Probe(Epoch(epoch)) => return self.leave_probe(policy, epoch, outcome, now),
            Pass::Free(Epoch(epoch)) => epoch,
        };
        let word = Word::unpack(self.word.load(Relaxed));
        if word.phase != Phase::Closed || word.epoch != epoch {
            return None;
        }
        match outcome? {
            Outcome::Success => {
                if policy.error_percent.is_some() {
                    self.window
                        .add(slot(policy, now), Counts { all: 1, part: 0 });
                }
                if word.errors > 0 {
                    self.set_errors(epoch, |_| 0);
                }
                None
            }
            Outcome::Error => {
                if policy.error_percent.is_some() {
                    self.window
                        .add(slot(policy, now), Counts { all: 1, part: 1 });
                }
                let threshold = policy.consecutive_errors;
                if threshold > 0 {
                    self.set_errors(epoch, |errors| errors.saturating_add(1).min(threshold));
                }
                self.open(policy, epoch, now, may_open)
            }
        }
    }

    /// The phase and when it began. It does not wait.
    pub fn phase(&self) -> (Phase, Duration) {
        let phase = Word::unpack(self.word.load(Acquire)).phase;
        (phase, Duration::from_nanos(self.since.load(Relaxed)))
    }

    /// For how long it was opened last.
    pub fn opened_for(&self) -> Duration {
        self.lock().open_for
    }

    /// Changes the errors in a row of the closed phase of that number, if it is still that one.
    fn set_errors(&self, epoch: u32, change: impl Fn(u32) -> u32) {
        let _ = self.word.fetch_update(AcqRel, Relaxed, |word| {
            let word = Word::unpack(word);
            let errors = change(word.errors);
            (word.phase == Phase::Closed && word.epoch == epoch)
                .then(|| Word { errors, ..word }.pack())
        });
    }

    /// Closed to open, if there is a cause.
    #[cold]
    fn open(
        &self,
        policy: &CircuitBreaker,
        epoch: u32,
        now: Duration,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Transition> {
        // Most errors are no cause, and do not wait.
        self.cause(policy, self.word().errors, now)?;
        let mut recovery = self.lock();
        let mut word = self.word();
        if word.phase != Phase::Closed || word.epoch != epoch {
            return None;
        }
        let cause = self.cause(policy, word.errors, now)?;
        if !may_open() {
            return None;
        }
        recovery.open_for = policy.open_for.min(policy.max_open_for);
        Some(self.begin_open(&recovery, &mut word, cause, now))
    }

    fn cause(&self, policy: &CircuitBreaker, errors: u32, now: Duration) -> Option<Cause> {
        let threshold = policy.consecutive_errors;
        if threshold > 0 && errors >= threshold {
            return Some(Cause::ConsecutiveErrors(errors));
        }
        let percent = u64::from(policy.error_percent?);
        let Counts { all, part } = self.window.sum(slot(policy, now));
        (all >= u64::from(policy.min_requests.max(1)) && part * 100 >= percent * all).then_some(
            Cause::ErrorShare {
                errors: part,
                requests: all,
            },
        )
    }

    #[cold]
    fn leave_probe(
        &self,
        policy: &CircuitBreaker,
        epoch: u32,
        outcome: Option<Outcome>,
        now: Duration,
    ) -> Option<Transition> {
        let mut recovery = self.lock();
        self.probes.fetch_sub(1, Relaxed);
        let mut word = self.word();
        // Another probe has decided.
        if word.phase != Phase::HalfOpen || word.epoch != epoch {
            return None;
        }
        match outcome? {
            Outcome::Success => {
                let since = *recovery.succeeding_since.get_or_insert(now);
                if now.saturating_sub(since) < policy.half_open_for {
                    return None;
                }
                // Before the phase begins, in which requests count again.
                self.window.clear();
                Some(self.begin(&mut word, Phase::Closed, Cause::ProbesSucceeded, now))
            }
            Outcome::Error => {
                let doubled = recovery.open_for.saturating_mul(2);
                recovery.open_for = doubled.min(policy.max_open_for);
                Some(self.begin_open(&recovery, &mut word, Cause::ProbeFailed, now))
            }
        }
    }

    fn begin_open(
        &self,
        recovery: &Recovery,
        word: &mut Word,
        cause: Cause,
        now: Duration,
    ) -> Transition {
        let open_for = recovery.open_for;
        let until = now.saturating_add(open_for);
        self.until.store(nanos(until), Relaxed);
        Transition {
            open_for: Some(open_for),
            ..self.begin(word, Phase::Open, cause, now)
        }
    }

    /// The next phase. Of what is not under the lock only the closed phase's errors in a row change
    /// meanwhile, and they end with it.
    fn begin(&self, word: &mut Word, to: Phase, cause: Cause, now: Duration) -> Transition {
        let from = word.phase;
        *word = word.next(to);
        let since = Duration::from_nanos(self.since.swap(nanos(now), Relaxed));
        self.word.store(word.pack(), Release);
        Transition {
            from,
            to,
            cause,
            open_for: None,
            lasted: now.saturating_sub(since),
        }
    }

    /// What is left of the open phase.
    fn open_for(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.until.load(Relaxed)).saturating_sub(now)
    }

    fn has_room(&self, policy: &CircuitBreaker) -> bool {
        self.probes.load(Relaxed) < policy.half_open_requests.max(1)
    }

    fn word(&self) -> Word {
        Word::unpack(self.word.load(Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Recovery> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer counts as an error: 502, 503, 504, gRPC's UNAVAILABLE, and what `errorOn` adds.
pub fn is_error(policy: &CircuitBreaker, status: StatusCode, grpc: Option<u16>) -> bool {
    const UNAVAILABLE: u32 = 14;
    let added = &policy.error_on;
    let of_grpc = |code: u16| (added.grpc | 1 << UNAVAILABLE) & bit(code) != 0;
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    ) || added.server_error && status.is_server_error()
        || added.too_many_requests && status == StatusCode::TOO_MANY_REQUESTS
        || grpc.is_some_and(of_grpc)
}

/// Of a set of gRPC status codes; codes that are none are in no set.
fn bit(code: u16) -> u32 {
    1_u32.checked_shl(code.into()).unwrap_or(0)
}

/// Whether one more of `total` endpoints may be open beside the `open` ones, half open ones
/// included, given the policy's `maxEjectedPercent`. `spare_last`: one stays closed.
pub fn may_open(total: usize, open: usize, max_ejected_percent: u8, spare_last: bool) -> bool {
    let (total, open) = (total as u128, open as u128 + 1);
    open * 100 <= total * u128::from(max_ejected_percent) && !(spare_last && open >= total)
}

/// Number of the window's present slot.
fn slot(policy: &CircuitBreaker, now: Duration) -> u64 {
    nanos(now) / (nanos(policy.window) / SLOTS).max(1)
}

#[cfg(test)]
mod tests;
