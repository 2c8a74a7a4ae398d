use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*};

use super::{Breaker, Cause, Outcome, Pass, Phase, Readiness, Transition, may_open};
use crate::model::traffic_policy::CircuitBreaker;

const START: Duration = Duration::from_secs(1_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One request from its start to its end, at once.
fn serve(
    breaker: &Breaker,
    policy: &CircuitBreaker,
    outcome: Outcome,
    now: Duration,
) -> Vec<Transition> {
    let (pass, began) = breaker.enter(policy, now).unwrap();
    let ended = breaker.leave(policy, pass, Some(outcome), now, || true);
    began.into_iter().chain(ended).collect()
}

fn opened(policy: &CircuitBreaker) -> Breaker {
    let breaker = Breaker::new(START);
    for _ in 0..policy.consecutive_errors {
        serve(&breaker, policy, Outcome::Error, START);
    }
    assert_eq!(breaker.phase(), (Phase::Open, START));
    breaker
}

#[test]
fn errors_in_a_row_open_it_and_one_success_closes_it() {
    let policy = CircuitBreaker::default();
    let breaker = Breaker::new(START);
    for outcome in [Outcome::Error, Outcome::Success] {
        for _ in 0..4 {
            assert_eq!(serve(&breaker, &policy, outcome, START), []);
        }
    }
    for _ in 0..4 {
        assert_eq!(serve(&breaker, &policy, Outcome::Error, START), []);
    }
    assert_eq!(breaker.readiness(&policy, START), Readiness::Closed);
    let now = START + secs(3);
    let open = Transition {
        from: Phase::Closed,
        to: Phase::Open,
        cause: Cause::ConsecutiveErrors(5),
        open_for: Some(secs(1)),
        lasted: secs(3),
    };
    assert_eq!(serve(&breaker, &policy, Outcome::Error, now), [open]);
    let refused = Readiness::Refused { retry_in: ms(600) };
    assert_eq!(breaker.readiness(&policy, now + ms(400)), refused);
    assert_eq!(breaker.enter(&policy, now + ms(400)), Err(ms(600)));

    let later = now + ms(1_500);
    assert_eq!(breaker.readiness(&policy, later), Readiness::Probe);
    let half_open = Transition {
        from: Phase::Open,
        to: Phase::HalfOpen,
        cause: Cause::TimeOver,
        open_for: None,
        lasted: ms(1_500),
    };
    let closed = Transition {
        from: Phase::HalfOpen,
        to: Phase::Closed,
        cause: Cause::ProbesSucceeded,
        open_for: None,
        lasted: ms(0),
    };
    let served = serve(&breaker, &policy, Outcome::Success, later);
    assert_eq!(served, [half_open, closed]);
    assert_eq!(breaker.phase(), (Phase::Closed, later));
}

#[test]
fn failed_probes_double_the_time_up_to_the_longest() {
    let policy = CircuitBreaker {
        max_open_for: secs(5),
        ..CircuitBreaker::default()
    };
    let breaker = opened(&policy);
    let mut now = START;
    for (wait, next) in [(1, 2), (2, 4), (4, 5), (5, 5)] {
        let early = now + secs(wait) - ms(1);
        assert_eq!(breaker.enter(&policy, early), Err(ms(1)));
        now += secs(wait);
        let transitions = serve(&breaker, &policy, Outcome::Error, now);
        let [_, again] = transitions[..] else {
            panic!("{transitions:?}")
        };
        assert_eq!(again.cause, Cause::ProbeFailed);
        assert_eq!(again.open_for, Some(secs(next)));
    }
    // Once closed it begins anew.
    now += secs(5);
    serve(&breaker, &policy, Outcome::Success, now);
    assert_eq!(breaker.phase(), (Phase::Closed, now));
    for _ in 0..5 {
        serve(&breaker, &policy, Outcome::Error, now);
    }
    let refused = Readiness::Refused { retry_in: secs(1) };
    assert_eq!(breaker.readiness(&policy, now), refused);
}

#[test]
fn what_began_before_a_transition_says_nothing_of_what_is_after_it() {
    let policy = CircuitBreaker {
        consecutive_errors: 1,
        ..CircuitBreaker::default()
    };
    let breaker = Breaker::new(START);
    let (slow, _) = breaker.enter(&policy, START).unwrap();
    let (slower, _) = breaker.enter(&policy, START).unwrap();
    serve(&breaker, &policy, Outcome::Error, START);
    let now = START + secs(1);
    let (probe, _) = breaker.enter(&policy, now).unwrap();
    let success = Some(Outcome::Success);
    assert_eq!(breaker.leave(&policy, slow, success, now, || true), None);
    assert_eq!(breaker.phase().0, Phase::HalfOpen);
    breaker.leave(&policy, probe, success, now, || true);
    assert_eq!(breaker.phase().0, Phase::Closed);
    // It timed out long after the endpoint was well again.
    let error = Some(Outcome::Error);
    assert_eq!(breaker.leave(&policy, slower, error, now, || true), None);
    assert_eq!(breaker.phase().0, Phase::Closed);
}

#[test]
fn nor_has_it_a_share_in_the_window() {
    let policy = CircuitBreaker {
        consecutive_errors: 3,
        error_percent: Some(50),
        min_requests: 4,
        ..CircuitBreaker::default()
    };
    let breaker = Breaker::new(START);
    let slow: Vec<_> = (0..10)
        .map(|_| breaker.enter(&policy, START).unwrap().0)
        .collect();
    for _ in 0..3 {
        serve(&breaker, &policy, Outcome::Error, START);
    }
    let now = START + secs(1);
    serve(&breaker, &policy, Outcome::Success, now);
    for pass in slow {
        let error = Some(Outcome::Error);
        assert_eq!(breaker.leave(&policy, pass, error, now, || true), None);
    }
    for _ in 0..3 {
        assert_eq!(serve(&breaker, &policy, Outcome::Success, now), []);
    }
    // One of four.
    assert_eq!(serve(&breaker, &policy, Outcome::Error, now), []);
}

#[test]
fn an_abandoned_probe_gives_its_room_back_and_says_nothing() {
    let policy = CircuitBreaker::default();
    let breaker = opened(&policy);
    let now = START + secs(1);
    for _ in 0..3 {
        let (probe, _) = breaker.enter(&policy, now).unwrap();
        let refused = Readiness::Refused {
            retry_in: Duration::ZERO,
        };
        assert_eq!(breaker.readiness(&policy, now), refused);
        assert_eq!(breaker.enter(&policy, now), Err(Duration::ZERO));
        assert_eq!(breaker.leave(&policy, probe, None, now, || true), None);
        assert_eq!(breaker.phase(), (Phase::HalfOpen, now));
        assert_eq!(breaker.readiness(&policy, now), Readiness::Probe);
    }
}

#[test]
fn probes_of_an_earlier_phase_still_have_their_room() {
    let policy = CircuitBreaker {
        half_open_requests: 2,
        ..CircuitBreaker::default()
    };
    let breaker = opened(&policy);
    let now = START + secs(1);
    let (hung, _) = breaker.enter(&policy, now).unwrap();
    serve(&breaker, &policy, Outcome::Error, now);
    let now = now + secs(2);
    let (probe, _) = breaker.enter(&policy, now).unwrap();
    assert_eq!(breaker.enter(&policy, now), Err(Duration::ZERO));
    // That it succeeds now is about the time before.
    let success = Some(Outcome::Success);
    assert_eq!(breaker.leave(&policy, hung, success, now, || true), None);
    assert_eq!(breaker.phase().0, Phase::HalfOpen);
    let closed = breaker.leave(&policy, probe, success, now, || true);
    assert_eq!(closed.unwrap().to, Phase::Closed);
}

#[test]
fn probes_succeed_for_a_while() {
    let policy = CircuitBreaker {
        half_open_for: secs(3),
        ..CircuitBreaker::default()
    };
    let breaker = opened(&policy);
    let first = START + secs(10);
    for wait in [0, 1, 2] {
        serve(&breaker, &policy, Outcome::Success, first + secs(wait));
        assert_eq!(breaker.phase(), (Phase::HalfOpen, first));
    }
    serve(&breaker, &policy, Outcome::Success, first + secs(3));
    assert_eq!(breaker.phase().0, Phase::Closed);
}

#[test]
fn refused_to_open_it_asks_at_the_next_error() {
    let policy = CircuitBreaker::default();
    let breaker = Breaker::new(START);
    let mut asked = 0;
    for _ in 0..7 {
        let (pass, _) = breaker.enter(&policy, START).unwrap();
        let refuse = || {
            asked += 1;
            false
        };
        let error = Some(Outcome::Error);
        assert_eq!(breaker.leave(&policy, pass, error, START, refuse), None);
    }
    assert_eq!(asked, 3);
    let open = serve(&breaker, &policy, Outcome::Error, START);
    assert_eq!(open[0].cause, Cause::ConsecutiveErrors(5));
}

#[test]
fn a_share_of_errors_opens_it() {
    let policy = CircuitBreaker {
        consecutive_errors: 0,
        error_percent: Some(50),
        ..CircuitBreaker::default()
    };
    let breaker = Breaker::new(START);
    // Ten errors of 19 are too few requests.
    for at in 0..19 {
        let outcome = [Outcome::Error, Outcome::Success][at % 2];
        assert_eq!(serve(&breaker, &policy, outcome, START), []);
    }
    let cause = Cause::ErrorShare {
        errors: 11,
        requests: 20,
    };
    let open = serve(&breaker, &policy, Outcome::Error, START);
    assert_eq!(open[0].cause, cause);
    // What opened it is forgotten once it is closed.
    let now = START + secs(1);
    serve(&breaker, &policy, Outcome::Success, now);
    for _ in 0..19 {
        assert_eq!(serve(&breaker, &policy, Outcome::Error, now), []);
    }
    // So is what is older than the window.
    let later = now + policy.window;
    assert_eq!(serve(&breaker, &policy, Outcome::Error, later), []);
}

#[test]
fn as_many_are_open_as_the_policy_allows() {
    assert!(may_open(3, 2, 100, false));
    assert!(!may_open(3, 2, 100, true));
    assert!(may_open(3, 1, 100, true));
    assert!(!may_open(1, 0, 100, true));
    assert!(may_open(1, 0, 100, false));
    assert!(may_open(10, 4, 50, false));
    assert!(!may_open(10, 5, 50, false));
    assert!(!may_open(3, 0, 33, false));
    assert!(!may_open(3, 0, 0, false));
    // Gone meanwhile.
    assert!(!may_open(0, 0, 100, false));
    assert!(!may_open(2, usize::MAX, 100, false));
}

/// The same from a list of all that happened.
struct Model {
    phase: Phase,
    since: Duration,
    /// Every transition begins another.
    epoch: u32,
    errors_in_a_row: u32,
    /// Ends of the closed phase's requests and whether they failed.
    ends: Vec<(Duration, bool)>,
    /// Openings in a row without a closed phase between them.
    openings: u32,
    first_success: Option<Duration>,
    probes: u32,
}

impl Model {
    fn new(now: Duration) -> Self {
        Self {
            phase: Phase::Closed,
            since: now,
            epoch: 0,
            errors_in_a_row: 0,
            ends: Vec::new(),
            openings: 0,
            first_success: None,
            probes: 0,
        }
    }

    fn go(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
        self.epoch += 1;
        self.errors_in_a_row = 0;
        self.ends.clear();
        self.first_success = None;
    }

    fn open_for(&self, policy: &CircuitBreaker) -> Duration {
        let doublings = 1 << (self.openings - 1).min(20);
        (policy.open_for * doublings).min(policy.max_open_for)
    }

    fn readiness(&self, policy: &CircuitBreaker, now: Duration) -> Readiness {
        let retry_in = match self.phase {
            Phase::Closed => return Readiness::Closed,
            Phase::Open => (self.since + self.open_for(policy)).saturating_sub(now),
            Phase::HalfOpen => Duration::ZERO,
        };
        if retry_in.is_zero() && self.probes < policy.half_open_requests {
            Readiness::Probe
        } else {
            Readiness::Refused { retry_in }
        }
    }

    /// The phase in which the request begins and whether it is a probe.
    fn enter(&mut self, policy: &CircuitBreaker, now: Duration) -> Option<(u32, bool)> {
        match self.readiness(policy, now) {
            Readiness::Closed => Some((self.epoch, false)),
            Readiness::Refused { .. } => None,
            Readiness::Probe => {
                if self.phase == Phase::Open {
                    self.go(Phase::HalfOpen, now);
                }
                self.probes += 1;
                Some((self.epoch, true))
            }
        }
    }

    fn leave(
        &mut self,
        policy: &CircuitBreaker,
        (epoch, probe): (u32, bool),
        outcome: Option<Outcome>,
        now: Duration,
        may_open: bool,
    ) {
        self.probes -= u32::from(probe);
        let (true, Some(outcome)) = (epoch == self.epoch, outcome) else {
            return;
        };
        let failed = outcome == Outcome::Error;
        match self.phase {
            Phase::Closed => {
                self.ends.push((now, failed));
                self.errors_in_a_row = if failed { self.errors_in_a_row + 1 } else { 0 };
                if failed && may_open && self.is_bad(policy, now) {
                    self.go(Phase::Open, now);
                    self.openings = 1;
                }
            }
            Phase::HalfOpen if failed => {
                self.go(Phase::Open, now);
                self.openings += 1;
            }
            Phase::HalfOpen => {
                let first = *self.first_success.get_or_insert(now);
                if now - first >= policy.half_open_for {
                    self.go(Phase::Closed, now);
                }
            }
            Phase::Open => unreachable!("nothing begins in it"),
        }
    }

    fn is_bad(&self, policy: &CircuitBreaker, now: Duration) -> bool {
        let threshold = policy.consecutive_errors;
        if threshold > 0 && self.errors_in_a_row >= threshold {
            return true;
        }
        let Some(percent) = policy.error_percent else {
            return false;
        };
        // The present tenth of the window and the nine before it.
        let tenth = |at: Duration| at.as_nanos() / (policy.window.as_nanos() / 10);
        let lately: Vec<bool> = self
            .ends
            .iter()
            .filter(|(at, _)| tenth(*at) + 10 > tenth(now))
            .map(|(_, failed)| *failed)
            .collect();
        let failed = lately.iter().filter(|failed| **failed).count();
        lately.len() >= policy.min_requests as usize
            && failed as f64 / lately.len() as f64 * 100.0 >= f64::from(percent) - 1e-9
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Enter,
    /// Which of those that are under way ends, how, and whether others leave room to open.
    Leave(prop::sample::Index, Option<Outcome>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Some(Outcome::Error)),
        4 => Just(Some(Outcome::Success)),
        1 => Just(None),
    ];
    prop_oneof![
        1 => (0_u64..3_000).prop_map(Step::Pass),
        4 => Just(Step::Enter),
        4 => (any::<prop::sample::Index>(), outcome, prop::bool::weighted(0.8))
            .prop_map(|(at, outcome, may)| Step::Leave(at, outcome, may)),
    ]
}

fn policy() -> impl Strategy<Value = CircuitBreaker> {
    (
        (0_u32..4, option::of(1_u8..=100), 1_u64..5, 0_u32..8),
        (1_u64..1_500, 0_u64..10_000, 1_u32..4, 0_u64..2_000),
    )
        .prop_map(
            |(
                (consecutive_errors, error_percent, window, min_requests),
                (open_for, more, half_open_requests, half_open_for),
            )| CircuitBreaker {
                consecutive_errors,
                error_percent,
                window: secs(window),
                min_requests,
                open_for: ms(open_for),
                max_open_for: ms(open_for + more),
                half_open_requests,
                half_open_for: ms(half_open_for),
                ..CircuitBreaker::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn it_does_what_the_model_does(policy in policy(), steps in vec(step(), 1..250)) {
        let (breaker, mut model) = (Breaker::new(START), Model::new(START));
        let mut now = START;
        let mut under_way: Vec<(Pass, (u32, bool))> = Vec::new();
        for step in steps {
            let before = breaker.phase();
            let transition = match step {
                Step::Pass(passed) => {
                    now += ms(passed);
                    None
                }
                Step::Enter => {
                    let expected = model.enter(&policy, now);
                    match breaker.enter(&policy, now) {
                        Ok((pass, transition)) => {
                            let is_probe = matches!(pass, Pass::Probe(_));
                            prop_assert_eq!(expected.map(|(_, probe)| probe), Some(is_probe));
                            under_way.extend(expected.map(|token| (pass, token)));
                            transition
                        }
                        Err(retry_in) => {
                            prop_assert_eq!(expected, None);
                            let refused = Readiness::Refused { retry_in };
                            prop_assert_eq!(model.readiness(&policy, now), refused);
                            None
                        }
                    }
                }
                Step::Leave(_, _, _) if under_way.is_empty() => None,
                Step::Leave(at, outcome, may) => {
                    let (pass, token) = under_way.swap_remove(at.index(under_way.len()));
                    model.leave(&policy, token, outcome, now, may);
                    breaker.leave(&policy, pass, outcome, now, || may)
                }
            };
            prop_assert_eq!(breaker.phase(), (model.phase, model.since));
            prop_assert_eq!(breaker.readiness(&policy, now), model.readiness(&policy, now));
            // Every change of phase is told, as what it is.
            if let Some(told) = transition {
                prop_assert_eq!((told.from, told.to), (before.0, model.phase));
                prop_assert_eq!(told.lasted, now - before.1);
                let open_for = (told.to == Phase::Open).then(|| model.open_for(&policy));
                prop_assert_eq!(told.open_for, open_for);
            } else {
                prop_assert_eq!(before, (model.phase, model.since));
            }
        }
    }

    /// Whatever the clocks say: workers read theirs before they come here.
    #[test]
    fn clocks_may_disagree(policy in policy(), steps in vec((0_u64..20_000, step()), 1..100)) {
        let breaker = Breaker::new(START);
        let mut under_way = Vec::new();
        for (now, step) in steps {
            let now = ms(now);
            match step {
                Step::Leave(at, outcome, may) if !under_way.is_empty() => {
                    let pass = under_way.swap_remove(at.index(under_way.len()));
                    breaker.leave(&policy, pass, outcome, now, || may);
                }
                _ => under_way.extend(breaker.enter(&policy, now).ok().map(|(pass, _)| pass)),
            }
            let probes = under_way.iter().filter(|pass| matches!(pass, Pass::Probe(_)));
            prop_assert!(probes.count() <= policy.half_open_requests as usize);
        }
    }
}

/// SplitMix64: outcomes in no order.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Threads that agree on nothing but the breaker: probes never exceed the policy's, every
/// transition is told once, in an order in which each begins where another ended.
#[test]
fn many_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let policy = CircuitBreaker {
        consecutive_errors: 3,
        error_percent: Some(60),
        open_for: Duration::from_nanos(40),
        max_open_for: Duration::from_nanos(400),
        half_open_requests: 2,
        ..CircuitBreaker::default()
    };
    let breaker = Arc::new(Breaker::new(Duration::ZERO));
    let (clock, probes) = (AtomicU64::new(0), AtomicI64::new(0));
    let told = Mutex::new(Vec::new());
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (policy, breaker, clock, probes) = (&policy, &breaker, &clock, &probes);
            let (told, barrier) = (&told, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for turn in 0..EACH {
                    let now = Duration::from_nanos(clock.fetch_add(1, SeqCst));
                    let Ok((pass, began)) = breaker.enter(policy, now) else {
                        continue;
                    };
                    let is_probe = matches!(pass, Pass::Probe(_));
                    if is_probe {
                        let others = probes.fetch_add(1, SeqCst);
                        assert!(others < i64::from(policy.half_open_requests));
                    }
                    let outcome = match mixed(turn ^ thread << 32) >> 60 {
                        0 => None,
                        1..=7 => Some(Outcome::Success),
                        _ => Some(Outcome::Error),
                    };
                    thread::yield_now();
                    if is_probe {
                        // Before its room is another's.
                        probes.fetch_sub(1, SeqCst);
                    }
                    let ended = breaker.leave(policy, pass, outcome, now, || true);
                    told.lock().unwrap().extend(began.into_iter().chain(ended));
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    let count = |from, to| {
        let those = told.iter().filter(|t| (t.from, t.to) == (from, to));
        those.count() as i64
    };
    let (opened, probed) = (
        count(Phase::Closed, Phase::Open),
        count(Phase::Open, Phase::HalfOpen),
    );
    let (failed, closed) = (
        count(Phase::HalfOpen, Phase::Open),
        count(Phase::HalfOpen, Phase::Closed),
    );
    assert_eq!(opened + probed + failed + closed, told.len() as i64);
    assert!(
        opened > 10 && failed > 10 && closed > 10,
        "{opened} {failed} {closed}"
    );
    let phase = breaker.phase().0;
    assert_eq!(opened - closed, i64::from(phase != Phase::Closed));
    assert_eq!(opened + failed - probed, i64::from(phase == Phase::Open));
    // All rooms are free.
    let late = Duration::from_secs(1);
    if phase != Phase::Closed {
        let rooms: Vec<_> = (0..3)
            .map(|_| breaker.enter(&policy, late).is_ok())
            .collect();
        assert_eq!(rooms, [true, true, false]);
    }
}
