//! Whatever validation lets through is within its bounds, and none of it contradicts another.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use crate::{
    model::{
        resource::Resource,
        traffic_policy::{
            AbortWith, CircuitBreaker, FALLBACK_NODE_BYTES_MAX, Policy, RETRY_ATTEMPTS_MAX,
            RETRY_BACKOFF_BASE, RETRY_BACKOFF_MAX, RETRY_BUFFER_BYTES_MAX, TrafficPolicy,
        },
    },
    sources::parse::{Manifest, Strings, manifest},
};

/// On both sides of the bounds, the bounds themselves mostly.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => select(vec![0_i64, 1, 2, 5, 10, 16, 100, 400]).prop_map(Value::from),
        2 => select(vec![-1, 11, 17, 101, 199, 200, 599, 600, 1_000_000, 1_000_001, i64::MAX]).prop_map(Value::from),
    ]
}

fn duration() -> impl Strategy<Value = Value> {
    select(vec![
        "0s", "1ms", "50ms", "100ms", "1s", "90s", "1h", "2h", "168h", "169h", "99999h",
    ])
    .prop_map(Value::from)
}

fn size() -> impl Strategy<Value = Value> {
    select(vec![
        json!(0),
        json!(1),
        json!("64Ki"),
        json!("4Mi"),
        json!("5Mi"),
        json!("64Mi"),
        json!("1Gi"),
        json!(u64::MAX),
    ])
}

fn words(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    vec(select(words), 0..3).prop_map(Value::from)
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(words).prop_map(Value::from)
}

/// Each of the fields, or not.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| option::weighted(0.4, value).prop_map(move |value| (name, value)))
        .collect();
    fields
        .prop_map(|fields| {
            let said = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(said.collect::<Map<_, _>>())
        })
        .boxed()
}

fn a_spec() -> BoxedStrategy<Value> {
    let duration = || duration().boxed();
    let number = || number().boxed();
    let header = || word(&["x-a", "", "a b"]).boxed();
    let retries = object(vec![
        ("attempts", number()),
        ("on", words(&["reset", "5xx", "unavailable", "ok"]).boxed()),
        ("perTryTimeout", duration()),
        (
            "backoff",
            object(vec![("base", duration()), ("max", duration())]),
        ),
        ("methods", words(&["GET", "POST", "X"]).boxed()),
        ("bufferBytes", size().boxed()),
        (
            "budget",
            object(vec![("percent", number()), ("minPerSecond", number())]),
        ),
    ]);
    let breaker = object(vec![
        ("consecutiveErrors", number()),
        ("errorPercent", number()),
        ("window", duration()),
        ("minRequests", number()),
        ("openFor", duration()),
        ("maxOpenFor", duration()),
        ("halfOpenRequests", number()),
        ("halfOpenFor", duration()),
        ("maxEjectedPercent", number()),
    ]);
    let balancer = object(vec![
        (
            "algorithm",
            word(&["ewma", "maglev", "ring-hash", "x"]).boxed(),
        ),
        (
            "hashOn",
            object(vec![
                ("header", header()),
                ("source", word(&["address"]).boxed()),
            ]),
        ),
        ("slowStart", duration()),
    ]);
    let check = object(vec![
        ("path", word(&["/a", "a"]).boxed()),
        ("tcp", Just(json!(true)).boxed()),
        ("interval", duration()),
        ("timeout", duration()),
        ("healthy", number()),
        ("unhealthy", number()),
    ]);
    let limit = object(vec![
        ("requests", number()),
        ("per", duration()),
        ("burst", number()),
        (
            "by",
            object(vec![
                ("source", word(&["identity"]).boxed()),
                ("header", header()),
            ]),
        ),
    ]);
    let delay = object(vec![("percent", number()), ("duration", duration())]);
    let abort = object(vec![
        ("percent", number()),
        ("status", number()),
        ("grpcStatus", number()),
    ]);
    object(vec![
        (
            "timeouts",
            object(vec![
                ("connect", duration()),
                ("request", duration()),
                ("idle", duration()),
            ]),
        ),
        ("retries", retries),
        (
            "connections",
            object(vec![
                ("max", number()),
                ("pending", number()),
                ("requests", number()),
                ("requestsPerConnection", number()),
            ]),
        ),
        ("circuitBreaker", breaker),
        (
            "fallback",
            object(vec![
                ("staleIfError", duration()),
                ("maxBytes", size().boxed()),
            ]),
        ),
        ("loadBalancer", balancer),
        ("healthCheck", check),
        ("rateLimit", vec(limit, 0..3).prop_map(Value::from).boxed()),
        (
            "concurrency",
            object(vec![("limit", number()), ("queue", number())]),
        ),
        ("fault", object(vec![("delay", delay), ("abort", abort)])),
    ])
}

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(168 * 3600);
const COUNT_MAX: u32 = 1_000_000;

fn assert_sound(policy: &Policy) {
    let Policy {
        timeouts, retries, ..
    } = policy;
    let long = [
        timeouts.connect,
        timeouts.request,
        timeouts.idle,
        retries.per_try_timeout,
    ];
    assert!(long.iter().flatten().all(|limit| *limit <= WEEK));
    let request = timeouts.request.filter(|request| !request.is_zero());
    assert!(request.is_none() || retries.per_try_timeout <= request);
    let base = retries.backoff_base.unwrap_or(RETRY_BACKOFF_BASE);
    let max = retries.backoff_max.unwrap_or(RETRY_BACKOFF_MAX);
    assert!(!base.is_zero() && base <= max && max <= HOUR);
    assert!(retries.attempts <= Some(RETRY_ATTEMPTS_MAX));
    assert!(retries.buffer_bytes <= Some(RETRY_BUFFER_BYTES_MAX));
    assert!(retries.budget_percent <= Some(100));
    assert!(retries.budget_min_per_second <= Some(COUNT_MAX));
    assert!(
        retries
            .methods
            .as_ref()
            .is_none_or(|methods| !methods.is_empty())
    );
    let connections = &policy.connections;
    for limit in [
        connections.max,
        connections.requests,
        connections.requests_per_connection,
    ] {
        assert!(limit.is_none_or(|limit| (1..=COUNT_MAX).contains(&limit)));
    }
    assert!(connections.pending <= Some(COUNT_MAX));
    if let Some(breaker) = &policy.circuit_breaker {
        assert_breaker(breaker);
    }
    if let Some(fallback) = &policy.fallback {
        assert!(!fallback.stale_if_error.is_zero() && fallback.stale_if_error <= WEEK);
        assert!((1..=FALLBACK_NODE_BYTES_MAX).contains(&fallback.max_bytes));
        assert!(!fallback.methods.is_empty());
    }
    if let Some(balancer) = &policy.load_balancer {
        assert_eq!(balancer.algorithm.is_hash(), balancer.hash_on.is_some());
        assert!(balancer.slow_start <= HOUR);
    }
    if let Some(check) = &policy.health_check {
        assert!(!check.timeout.is_zero() && check.timeout <= check.interval);
        assert!(check.interval >= Duration::from_millis(100) && check.interval <= HOUR);
        assert!((1..=100).contains(&check.healthy) && (1..=100).contains(&check.unhealthy));
    }
    for limit in &policy.rate_limits {
        assert!(
            (1..=COUNT_MAX).contains(&limit.requests) && (1..=COUNT_MAX).contains(&limit.burst)
        );
        assert!(!limit.per.is_zero() && limit.per <= HOUR);
    }
    if let Some(concurrency) = &policy.concurrency {
        assert!((1..=COUNT_MAX).contains(&concurrency.limit) && concurrency.queue <= COUNT_MAX);
    }
    if let Some(delay) = &policy.fault.delay {
        assert!(delay.percent <= 100 && !delay.duration.is_zero() && delay.duration <= HOUR);
    }
    if let Some(abort) = &policy.fault.abort {
        assert!(abort.percent <= 100);
        match abort.answer {
            AbortWith::Status(status) => assert!((200..600).contains(&status.as_u16())),
            AbortWith::Grpc(code) => assert!((1..=16).contains(&code)),
        }
    }
}

fn assert_breaker(breaker: &CircuitBreaker) {
    assert!(
        breaker
            .error_percent
            .is_none_or(|percent| (1..=100).contains(&percent))
    );
    assert!(breaker.max_ejected_percent <= 100);
    assert!(!breaker.open_for.is_zero() && breaker.open_for <= breaker.max_open_for);
    assert!(breaker.max_open_for <= HOUR && breaker.half_open_for <= HOUR);
    assert!(breaker.window >= Duration::from_millis(100) && breaker.window <= HOUR);
    assert!(breaker.consecutive_errors <= COUNT_MAX);
    assert!((1..=COUNT_MAX).contains(&breaker.min_requests));
    assert!((1..=COUNT_MAX).contains(&breaker.half_open_requests));
}

fn read(mut spec: Value) -> Option<std::sync::Arc<TrafficPolicy>> {
    spec["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "web"}]);
    let object = json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": spec,
    });
    match manifest(&object, &mut Strings::default()) {
        Ok(Manifest::Object(_, Resource::TrafficPolicy(policy))) => Some(policy),
        Ok(other) => panic!("{other:?}"),
        Err(rejected) => {
            let told = &rejected.errors;
            assert!(
                told.iter().all(|error| error.path.starts_with("spec.")),
                "{told:?}"
            );
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_is_let_through_is_sound(spec in a_spec()) {
        // Alone its stanzas are let through far more often than together.
        for (name, stanza) in spec.as_object().into_iter().flatten() {
            let mut alone = json!({});
            alone[name.as_str()] = stanza.clone();
            if let Some(policy) = read(alone) {
                assert_sound(&policy.policy);
            }
        }
        if let Some(policy) = read(spec) {
            assert_sound(&policy.policy);
        }
    }
}
