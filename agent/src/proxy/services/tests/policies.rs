//! Whatever validation lets through, no choice, retry or breaker panics.

use http::{HeaderMap, Method, StatusCode};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    model::{
        service::{Place, Service, WEIGHT_MAX},
        traffic_policy::{
            Algorithm, ErrorOn, HashOn, LoadBalancer, Locality, RETRY_ATTEMPTS_MAX,
            RETRY_BUFFER_BYTES_MAX, RetryOn, RetryPolicy, TimeoutPolicy,
        },
    },
    proxy::l7::balance::Balancer,
    traffic::{
        balance::hash_key,
        retry::{Retries, Tried},
    },
};

/// What validation allows of numbers without a bound of their own.
const COUNT_MAX: u32 = 1_000_000;

fn time() -> impl Strategy<Value = Duration> {
    let some = vec![1, 2, 50, 1000, 60_000, 3_600_000];
    select(some).prop_map(Duration::from_millis)
}

fn zero_or_time() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), time()]
}

fn count(least: u32) -> impl Strategy<Value = u32> {
    let some: Vec<u32> = vec![0, 1, 2, 5, 100, COUNT_MAX];
    select(some).prop_map(move |count| count.max(least))
}

fn breaker() -> impl Strategy<Value = CircuitBreaker> {
    let counts = (count(0), option::of(1_u8..=100), count(1), count(1));
    let times = (time(), time(), time(), zero_or_time());
    let errors = (any::<bool>(), any::<bool>(), 0_u32..1 << 17);
    (counts, times, 0_u8..=100, errors).prop_map(|(counts, times, ejected, errors)| {
        let (consecutive_errors, error_percent, min_requests, half_open_requests) = counts;
        let (window, open_for, max_open_for, half_open_for) = times;
        let (server_error, too_many_requests, grpc) = errors;
        CircuitBreaker {
            consecutive_errors,
            error_percent,
            window,
            min_requests,
            open_for,
            max_open_for: max_open_for.max(open_for),
            half_open_requests,
            half_open_for,
            max_ejected_percent: ejected,
            error_on: ErrorOn {
                server_error,
                too_many_requests,
                grpc,
            },
        }
    })
}

fn balancer() -> impl Strategy<Value = LoadBalancer> {
    let algorithms = vec![
        Algorithm::Ewma,
        Algorithm::LeastRequest,
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::RingHash,
        Algorithm::Maglev,
    ];
    let hashes = vec![
        HashOn::Source,
        HashOn::Cookie("c".into()),
        HashOn::Header(http::HeaderName::from_static("x-a")),
    ];
    let localities = vec![Locality::None, Locality::PreferZone, Locality::PreferNode];
    let fields = (
        select(algorithms),
        option::of(select(hashes)),
        zero_or_time(),
        select(localities),
    );
    fields.prop_map(|(algorithm, hash_on, slow_start, locality)| LoadBalancer {
        algorithm,
        hash_on,
        slow_start,
        locality,
    })
}

fn retries() -> impl Strategy<Value = RetryPolicy> {
    let times = (
        option::of(zero_or_time()),
        option::of(time()),
        option::of(time()),
    );
    let numbers = (
        option::of(0..=RETRY_ATTEMPTS_MAX),
        option::of(0..=RETRY_BUFFER_BYTES_MAX),
        option::of(0_u8..=100),
        option::of(count(0)),
    );
    let on = (vec(any::<bool>(), 7), 0_u32..1 << 17);
    (times, numbers, option::of(on)).prop_map(|(times, numbers, on)| {
        let (per_try_timeout, backoff_base, backoff_max) = times;
        let (attempts, buffer_bytes, budget_percent, budget_min_per_second) = numbers;
        RetryPolicy {
            attempts,
            on: on.map(|(on, grpc)| RetryOn {
                connect_failure: on[0],
                refused_stream: on[1],
                reset: on[2],
                gateway_error: on[3],
                server_error: on[4],
                retriable_4xx: on[5],
                timeout: on[6],
                statuses: vec![StatusCode::NOT_FOUND],
                grpc,
            }),
            per_try_timeout,
            backoff_base,
            backoff_max,
            methods: None,
            buffer_bytes,
            budget_percent,
            budget_min_per_second,
        }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let timeouts = option::of(zero_or_time()).prop_map(|connect| TimeoutPolicy {
        connect,
        ..TimeoutPolicy::default()
    });
    let fields = (
        option::of(breaker()),
        option::of(balancer()),
        retries(),
        timeouts,
        any::<bool>(),
    );
    fields.prop_map(
        |(circuit_breaker, load_balancer, retries, timeouts, is_checked)| Policy {
            circuit_breaker,
            load_balancer,
            retries,
            timeouts,
            health_check: checked().health_check.filter(|_| is_checked),
            ..Policy::default()
        },
    )
}

/// Of up to eight addresses of either family, some ready, some with a place.
fn endpoints() -> impl Strategy<Value = EndpointSet> {
    let place = (
        option::of(select(vec![NODE, "there"])),
        option::of(select(vec![ZONE, "b"])),
        option::of(0..=WEIGHT_MAX),
    );
    let endpoint = (0_u8..8, any::<bool>(), any::<bool>(), place);
    let all = (vec(endpoint, 0..6), any::<bool>());
    all.prop_map(|(mut endpoints, are_placed)| {
        endpoints.sort_by_key(|(number, ready, six, _)| (!ready, *six, *number));
        let mut seen = HashSet::new();
        endpoints.retain(|(number, _, six, _)| seen.insert((*six, *number)));
        let address = |six: bool, n: u8| match six {
            true => at(&format!("[fd00::{n}]:80")),
            false => at(&format!("10.0.0.{n}:80")),
        };
        let place = |(node, zone, weight): &(Option<&str>, Option<&str>, Option<u16>)| Place {
            node: node.map(Into::into),
            zone: zone.map(Into::into),
            weight: *weight,
        };
        let places = endpoints.iter().map(|(.., of)| place(of));
        EndpointSet {
            ready: endpoints.iter().filter(|(_, ready, ..)| *ready).count(),
            places: places.filter(|_| are_placed).collect(),
            endpoints: endpoints
                .iter()
                .map(|(n, _, six, _)| address(*six, *n))
                .collect(),
            ..EndpointSet::default()
        }
    })
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a few of them in a test")]
enum Step {
    Configure(Policy, u8),
    Request {
        six: bool,
        hash: Option<u64>,
        connection: bool,
        ends: Option<bool>,
    },
    Hold,
    LetGo,
    Check {
        nth: usize,
        ok: bool,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let request = (
        any::<bool>(),
        option::of(any::<u64>()),
        any::<bool>(),
        option::of(any::<bool>()),
    );
    prop_oneof![
        1 => (policy(), any::<u8>()).prop_map(|(policy, set)| Step::Configure(policy, set)),
        8 => request.prop_map(|(six, hash, connection, ends)| Step::Request { six, hash, connection, ends }),
        1 => Just(Step::Hold),
        1 => Just(Step::LetGo),
        2 => (0_usize..8, any::<bool>()).prop_map(|(nth, ok)| Step::Check { nth, ok }),
        2 => select(vec![1_u64, 100, 1100, 70_000]).prop_map(Step::Pass),
    ]
}

/// What holds after every step: counts are what a look at each endpoint says.
fn counts_are_right(view: &View) {
    for set in &view.sets {
        let usable = [set.of.usable_range(false), set.of.usable_range(true)];
        for (six, counts) in set.counts.iter().enumerate() {
            let states = set.states.iter().enumerate().filter(|(index, state)| {
                usize::from(state.endpoint.address.is_ipv6()) == six
                    && usable.iter().any(|usable| usable.contains(index))
            });
            let states: Vec<_> = states.map(|(_, state)| state).collect();
            let tripped = states
                .iter()
                .filter(|s| s.breaker.phase().0 != Phase::Closed);
            let unhealthy = states.iter().filter(|s| s.health.is_unhealthy());
            assert_eq!(counts.total.load(Relaxed), states.len());
            assert_eq!(counts.tripped.load(Relaxed), tripped.count());
            assert_eq!(counts.unhealthy.load(Relaxed), unhealthy.count());
        }
    }
}

/// Nothing is refused as long as something is well.
fn somebody_is_fit(view: &Arc<View>, six: bool) -> bool {
    let set = &view.sets[0];
    let node_only = view.service.service.node_local;
    let now = view.hub.now();
    let here = |index: usize| {
        set.of
            .places
            .get(index)
            .is_some_and(|p| p.node.as_deref() == Some(NODE))
    };
    set.of.usable_range(six).any(|index| {
        let fit = set.states[index].fitness(view, now);
        matches!(fit, endpoint::Fitness::Fit | endpoint::Fitness::Probe)
            && (!node_only || here(index))
    })
}

async fn run(policy: Policy, node_local: bool, sets: Vec<EndpointSet>, steps: Vec<Step>) {
    let services = services();
    let balancer = Balancer::new(3);
    let service = Service {
        node_local,
        ..a_service()
    };
    let mut sets: Vec<Option<EndpointSet>> = sets.into_iter().map(Some).collect();
    let mut view = services.of(&state(
        service.clone(),
        sets[0].take().unwrap(),
        Some(policy),
    ));
    let (mut held, mut generation) = (Vec::new(), 1);
    for step in steps {
        match step {
            Step::Configure(policy, n) => {
                let n = usize::from(n) % sets.len();
                let Some(set) = sets[n].take() else { continue };
                generation += 1;
                view = services.now_at(generation, &state(service.clone(), set, Some(policy)));
            }
            Step::Request {
                six,
                hash,
                connection,
                ends,
            } => {
                let wanted = Wanted {
                    ipv6: six,
                    tried: &[],
                    hash,
                    connection,
                };
                let fit = somebody_is_fit(&view, six);
                let chosen = view.chooses(&balancer, &wanted);
                assert_eq!(chosen.is_ok(), fit);
                let Ok((endpoint, trial)) = chosen else {
                    continue;
                };
                assert!(view.state_of(endpoint).is_some());
                match ends {
                    Some(true) => trial.ended(Outcome::Success),
                    Some(false) => trial.ended(Outcome::Error),
                    None => drop(trial),
                }
            }
            Step::Hold => held.extend(view.chooses(&balancer, &anybody()).ok()),
            Step::LetGo => held.truncate(held.len() / 2),
            Step::Check { nth, ok } => {
                if let Some(state) = view.states().nth(nth) {
                    services.checked_endpoint(&view, state, ok);
                }
            }
            Step::Pass(millis) => {
                tokio::time::advance(Duration::from_millis(millis)).await;
            }
        }
        counts_are_right(&view);
        services.status();
        services.observed();
    }
}

proptest! {
    #[test]
    fn choices_and_breakers_never_panic_and_counts_stay_right(
        policy in policy(),
        node_local in any::<bool>(),
        sets in vec(endpoints(), 1..5),
        steps in vec(step(), 0..40),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(policy, node_local, sets, steps));
    }

    #[test]
    fn retries_never_panic(
        layers in vec(retries(), 0..4),
        retry in 0..=RETRY_ATTEMPTS_MAX + 1,
        random: u64,
        status in 200_u16..600,
        grpc in option::of(0_u32..40),
        of_grpc: bool,
    ) {
        let retries = Retries::of(layers.iter());
        prop_assert!(retries.backoff(retry, random) <= retries.backoff_max);
        let status = StatusCode::from_u16(status).unwrap();
        let answered = Tried::Answered { status, grpc };
        let all = [Tried::Unsent, Tried::Refused, Tried::Reset, Tried::TimedOut, answered];
        for (tried, method) in all.into_iter().flat_map(|t| [(t, Method::GET), (t, Method::POST)]) {
            retries.again(tried, &method, of_grpc);
        }
        let budget = Budget::default();
        budget.request(Duration::ZERO);
        budget.try_retry(retries.budget_percent, retries.budget_min_per_second, Duration::ZERO);
    }

    #[test]
    fn whatever_is_hashed_has_its_endpoint(
        balancer in balancer(),
        set in endpoints(),
        value in "[ -~]{0,8}",
    ) {
        let Some(hash_on) = &balancer.hash_on else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert("x-a", value.trim().parse().unwrap());
        headers.insert("cookie", format!("c={}", value.trim()).parse().unwrap());
        let hash = hash_key::of(hash_on, &headers, [10, 0, 0, 1].into());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let policy = Policy { load_balancer: Some(balancer.clone()), ..Policy::default() };
            let is_empty = set.is_empty();
            let view = services().of(&web(set, Some(policy)));
            let wanted = Wanted { hash, ..anybody() };
            let of = |seed| view.chooses(&Balancer::new(seed), &wanted).ok().map(|(e, _)| e);
            assert_eq!(of(1).is_none(), is_empty);
            if hash.is_some() && balancer.algorithm.is_hash() && balancer.locality == Locality::None {
                assert_eq!(of(1), of(2));
            }
        });
    }
}
