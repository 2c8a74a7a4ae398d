mod properties;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode};

use super::{assert_errors, errors, resource};
use crate::model::{
    resource::Resource,
    route::{RouteKind, TextMatch},
    traffic_policy::{
        AbortWith, Algorithm, CircuitBreaker, Concurrency, ErrorOn, Fallback, HashOn,
        HealthCheckBy, LoadBalancer, Locality, Policy, PolicyTarget, RateLimit, RateLimitBy,
        RetryOn, RetryPolicy, TimeoutPolicy, TrafficPolicy,
    },
};

const META: &str =
    "apiVersion: weir.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: web, namespace: shop}";
const SERVICE: &str = "{group: '', kind: Service, name: web}";
const RULE: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web, sectionName: r}";

fn yaml(target: &str, stanzas: &str) -> String {
    format!("{{{META}, spec: {{targetRefs: [{target}], {stanzas}}}}}")
}

fn parsed(yaml: &str) -> Arc<TrafficPolicy> {
    match resource(yaml) {
        Resource::TrafficPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn policy(stanzas: &str) -> Arc<Policy> {
    Arc::clone(&parsed(&yaml(SERVICE, stanzas)).policy)
}

/// Table: stanzas of a policy on a Service, and how its only error begins after `spec.`.
fn assert_refused(table: &[(&str, &str)]) {
    for (stanzas, expected) in table {
        assert_errors(&[(&yaml(SERVICE, stanzas), &format!("spec.{expected}"))]);
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_policy_as_a_person_writes_it() {
    let parsed = parsed(
        "apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  timeouts: {request: 2s}
  retries: {attempts: 2, on: [gateway-error], perTryTimeout: 500ms, budget: {percent: 20, minPerSecond: 10}}
  circuitBreaker: {consecutiveErrors: 5, openFor: 1s}
  fallback: {staleIfError: 60s, maxBytes: 1Mi}
  loadBalancer: {algorithm: ewma}
  rateLimit: [{requests: 100, per: 1s, burst: 20, by: {source: identity}}]
",
    );
    assert_eq!(parsed.name.to_string(), "shop/web");
    assert_eq!(parsed.targets, [PolicyTarget::Service("web".into())]);
    let expected = Policy {
        timeouts: TimeoutPolicy {
            request: Some(ms(2000)),
            ..TimeoutPolicy::default()
        },
        retries: RetryPolicy {
            attempts: Some(2),
            on: Some(RetryOn {
                gateway_error: true,
                ..RetryOn::default()
            }),
            per_try_timeout: Some(ms(500)),
            budget_percent: Some(20),
            budget_min_per_second: Some(10),
            ..RetryPolicy::default()
        },
        circuit_breaker: Some(CircuitBreaker::default()),
        fallback: Some(Fallback {
            stale_if_error: ms(60_000),
            max_bytes: 1 << 20,
            methods: vec![Method::GET],
        }),
        load_balancer: Some(LoadBalancer::default()),
        rate_limits: vec![RateLimit {
            requests: 100,
            per: ms(1000),
            burst: 20,
            by: RateLimitBy::Identity,
        }],
        ..Policy::default()
    };
    assert_eq!(*parsed.policy, expected);
}

#[test]
fn a_policy_that_says_nothing_is_the_default() {
    assert_eq!(*policy("timeouts: {}, fault: {}"), Policy::default());
}

#[test]
fn targets() {
    let found = parsed(&yaml(
        &format!(
            "{SERVICE}, {RULE}, {{group: gateway.networking.k8s.io, kind: GRPCRoute, name: a.b}}"
        ),
        "timeouts: {request: 1s}",
    ));
    let rule = |kind, route: &str, section: Option<&str>| PolicyTarget::Rule {
        kind,
        route: route.into(),
        section: section.map(Into::into),
    };
    let expected = [
        PolicyTarget::Service("web".into()),
        rule(RouteKind::Http, "web", Some("r")),
        rule(RouteKind::Grpc, "a.b", None),
    ];
    assert_eq!(found.targets, expected);
}

#[test]
fn what_is_wrong_with_targets() {
    let at = |target: &str, expected: &str| {
        let expected = format!("spec.targetRefs{expected}");
        assert_errors(&[(&yaml(target, "timeouts: {}"), &expected)]);
    };
    at("", ": is required");
    at(
        &format!("{SERVICE}, {SERVICE}"),
        "[1]: \"web\" is there twice",
    );
    at("{kind: Service, name: a}", "[0].group: is required");
    at("{group: '', name: a}", "[0].kind: is required");
    at("{group: '', kind: Service}", "[0].name: is required");
    at(
        "{group: '', kind: Pod, name: a}",
        "[0].kind: \"Pod\" is not one of Service, HTTPRoute, GRPCRoute",
    );
    at(
        "{group: gateway.networking.k8s.io, kind: TCPRoute, name: a}",
        "[0].kind: \"TCPRoute\"",
    );
    at(
        "{group: core, kind: Service, name: a}",
        "[0].group: \"core\" is not one of \"\" (the group of Services)",
    );
    at(
        "{group: '', kind: HTTPRoute, name: a}",
        "[0].group: \"\" is not one of gateway.networking.k8s.io",
    );
    at(
        "{group: '', kind: Service, name: A}",
        "[0].name: \"A\" is not a name",
    );
    at(
        "{group: '', kind: Service, name: a, sectionName: http}",
        "[0].sectionName: cannot be together with kind Service",
    );
    at(
        "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a, sectionName: R}",
        "[0].sectionName: \"R\" is not a name",
    );
    at(
        "{group: '', kind: Service, name: a, namespace: b}",
        "[0].namespace: a policy's targets are of its own namespace",
    );
    at(
        "{group: '', kind: Service, name: a, port: 80}",
        "[0].port: unknown field `port`",
    );
    assert_errors(&[
        (&format!("{{{META}}}"), "spec: is required"),
        (
            &format!("{{{META}, spec: {{}}}}"),
            "spec.targetRefs: is required",
        ),
        (
            &yaml(SERVICE, "retry: {}"),
            "spec.retry: unknown field `retry`",
        ),
        (
            &yaml(SERVICE, "hedge: {after: 10ms}"),
            "spec.hedge: this version does not do it yet",
        ),
    ]);
}

#[test]
fn more_targets_than_there_may_be() {
    let many: Vec<String> = (0..17)
        .map(|n| format!("{{group: '', kind: Service, name: s{n}}}"))
        .collect();
    assert_errors(&[(
        &yaml(&many.join(", "), "timeouts: {}"),
        "spec.targetRefs: has more than 16 items",
    )]);
    assert_eq!(
        parsed(&yaml(&many[..16].join(", "), "timeouts: {}"))
            .targets
            .len(),
        16
    );
}

#[test]
fn on_a_rule_what_counts_per_service_is_refused() {
    for (stanza, path) in [
        ("timeouts: {connect: 1s}", "timeouts.connect"),
        ("timeouts: {idle: 1s}", "timeouts.idle"),
        ("connections: {max: 1}", "connections"),
        ("circuitBreaker: {}", "circuitBreaker"),
        ("loadBalancer: {}", "loadBalancer"),
        ("healthCheck: {tcp: true}", "healthCheck"),
        ("rateLimit: [{requests: 1}]", "rateLimit"),
        ("concurrency: {limit: 1}", "concurrency"),
    ] {
        let expected = format!("spec.{path}: counts for a service as a whole: target the Service");
        assert_errors(&[
            (&yaml(RULE, stanza), &expected),
            (&yaml(&format!("{SERVICE}, {RULE}"), stanza), &expected),
        ]);
        parsed(&yaml(SERVICE, stanza));
    }
    let all = "timeouts: {request: 1s}, retries: {attempts: 1}, fallback: {staleIfError: 1s}, fault: {delay: {percent: 1, duration: 1s}}";
    assert!(parsed(&yaml(RULE, all)).policy.fault.delay.is_some());
}

#[test]
fn timeouts() {
    let timeouts = policy("timeouts: {connect: 250ms, request: 0s, idle: 1h30m}").timeouts;
    assert_eq!(timeouts.connect, Some(ms(250)));
    assert_eq!(timeouts.request, Some(Duration::ZERO));
    assert_eq!(timeouts.idle, Some(ms(5_400_000)));
    assert_refused(&[
        ("timeouts: {connect: 1}", "timeouts.connect: invalid type"),
        (
            "timeouts: {request: 1.5s}",
            "timeouts.request: a duration is written as",
        ),
        (
            "timeouts: {idle: 169h}",
            "timeouts.idle: \"169h\" is not a duration from 1ms to 168h, or 0s",
        ),
        ("timeouts: {read: 1s}", "timeouts.read: unknown field"),
        ("timeouts: [1s]", "timeouts"),
    ]);
}

#[test]
fn retries() {
    let retries = |spec: &str| policy(&format!("retries: {spec}")).retries.clone();
    let all = retries(
        "{attempts: 0, on: [connect-failure, refused-stream, reset, gateway-error, 5xx, retriable-4xx, timeout, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable], perTryTimeout: 0s, backoff: {base: 10ms, max: 10ms}, methods: [POST, GET], bufferBytes: 0, budget: {percent: 0, minPerSecond: 0}}",
    );
    let on = RetryOn {
        connect_failure: true,
        refused_stream: true,
        reset: true,
        gateway_error: true,
        server_error: true,
        retriable_4xx: true,
        timeout: true,
        statuses: Vec::new(),
        grpc: 1 << 1 | 1 << 4 | 1 << 8 | 1 << 13 | 1 << 14,
    };
    let expected = RetryPolicy {
        attempts: Some(0),
        on: Some(on),
        per_try_timeout: Some(Duration::ZERO),
        backoff_base: Some(ms(10)),
        backoff_max: Some(ms(10)),
        methods: Some(vec![Method::POST, Method::GET]),
        buffer_bytes: Some(0),
        budget_percent: Some(0),
        budget_min_per_second: Some(0),
    };
    assert_eq!(all, expected);
    // What is said moves what is not.
    for (spec, base, max) in [
        ("{base: 1s}", Some(1000), Some(1000)),
        ("{base: 100ms}", Some(100), None),
        ("{max: 5ms}", Some(5), Some(5)),
        ("{max: 1s}", None, Some(1000)),
        ("{}", None, None),
    ] {
        let retries = retries(&format!("{{backoff: {spec}}}"));
        assert_eq!(
            (retries.backoff_base, retries.backoff_max),
            (base.map(ms), max.map(ms)),
            "{spec}"
        );
    }
    for (size, bytes) in [
        ("64Ki", 65_536),
        ("1Mi", 1 << 20),
        ("1k", 1000),
        ("1M", 1_000_000),
        ("4194304", 4 << 20),
        ("'7'", 7),
    ] {
        assert_eq!(
            retries(&format!("{{bufferBytes: {size}}}")).buffer_bytes,
            Some(bytes),
            "{size}"
        );
    }
}

#[test]
fn what_is_wrong_with_retries() {
    assert_refused(&[
        (
            "retries: {attempts: 11}",
            "retries.attempts: 11 is not a whole number from 0 to 10",
        ),
        (
            "retries: {attempts: -1}",
            "retries.attempts: -1 is not a whole number",
        ),
        ("retries: {attempts: 1.5}", "retries.attempts: invalid type"),
        ("retries: {on: []}", "retries.on: is required"),
        (
            "retries: {on: [unknown]}",
            "retries.on[0]: \"unknown\" is not one of connect-failure, refused-stream",
        ),
        (
            "retries: {on: [reset, ok]}",
            "retries.on[1]: \"ok\" is not one of",
        ),
        (
            "retries: {on: [5xx, 5xx]}",
            "retries.on[1]: \"5xx\" is there twice",
        ),
        (
            "retries: {perTryTimeout: 169h}",
            "retries.perTryTimeout: \"169h\" is not a duration",
        ),
        (
            "timeouts: {request: 1s}, retries: {perTryTimeout: 2s}",
            "retries.perTryTimeout: is longer than the timeout of the whole request",
        ),
        (
            "retries: {backoff: {base: 0s}}",
            "retries.backoff.base: \"0s\" is not a duration from 1ms to 1h",
        ),
        (
            "retries: {backoff: {max: 2h}}",
            "retries.backoff.max: \"2h\" is not a duration from 1ms to 1h",
        ),
        (
            "retries: {backoff: {base: 2s, max: 1s}}",
            "retries.backoff.base: is longer than backoff.max",
        ),
        (
            "retries: {backoff: {min: 2s}}",
            "retries.backoff.min: unknown field",
        ),
        ("retries: {methods: []}", "retries.methods: is required"),
        (
            "retries: {methods: [GET, get]}",
            "retries.methods[1]: \"get\" is not one of GET, HEAD, POST",
        ),
        (
            "retries: {methods: [CONNECT]}",
            "retries.methods[0]: \"CONNECT\" is not one of",
        ),
        (
            "retries: {bufferBytes: 5Mi}",
            "retries.bufferBytes: \"5Mi\" is not a size of 0 to 4194304 bytes",
        ),
        (
            "retries: {bufferBytes: 64KB}",
            "retries.bufferBytes: \"64KB\" is not a size",
        ),
        (
            "retries: {bufferBytes: '+1'}",
            "retries.bufferBytes: \"+1\" is not a size",
        ),
        (
            "retries: {bufferBytes: ''}",
            "retries.bufferBytes: \"\" is not a size",
        ),
        (
            "retries: {bufferBytes: 99999999999999999999Gi}",
            "retries.bufferBytes: \"99999999999999999999Gi\" is not",
        ),
        (
            "retries: {bufferBytes: 18446744073709551615Ki}",
            "retries.bufferBytes: ",
        ),
        (
            "retries: {bufferBytes: -1}",
            "retries.bufferBytes: expected a number of bytes",
        ),
        (
            "retries: {budget: {percent: 101}}",
            "retries.budget.percent: 101 is not a whole number from 0 to 100",
        ),
        (
            "retries: {budget: {minPerSecond: -1}}",
            "retries.budget.minPerSecond: -1 is not",
        ),
        (
            "retries: {budget: {share: 1}}",
            "retries.budget.share: unknown field",
        ),
    ]);
    let ok = policy("timeouts: {request: 0s}, retries: {perTryTimeout: 2s}");
    assert_eq!(ok.retries.per_try_timeout, Some(ms(2000)));
}

#[test]
fn connections() {
    let found = policy("connections: {max: 1, pending: 0, requests: 2, requestsPerConnection: 3}")
        .connections;
    assert_eq!(
        (
            found.max,
            found.pending,
            found.requests,
            found.requests_per_connection
        ),
        (Some(1), Some(0), Some(2), Some(3))
    );
    assert_refused(&[
        (
            "connections: {max: 0}",
            "connections.max: 0 is not a whole number from 1 to 1000000",
        ),
        (
            "connections: {pending: -1}",
            "connections.pending: -1 is not a whole number from 0",
        ),
        (
            "connections: {requests: 0}",
            "connections.requests: 0 is not",
        ),
        (
            "connections: {requestsPerConnection: 1000001}",
            "connections.requestsPerConnection: 1000001 is not",
        ),
        (
            "connections: {perHost: 1}",
            "connections.perHost: unknown field",
        ),
    ]);
}

#[test]
fn circuit_breakers() {
    let breaker = |spec: &str| {
        policy(&format!("circuitBreaker: {spec}"))
            .circuit_breaker
            .clone()
            .unwrap()
    };
    let all = breaker(
        "{consecutiveErrors: 0, errorPercent: 1, window: 100ms, minRequests: 1, openFor: 2s, maxOpenFor: 2s, halfOpenRequests: 3, halfOpenFor: 4s, maxEjectedPercent: 0, errorOn: [5xx, 429, unavailable, unauthenticated]}",
    );
    let expected = CircuitBreaker {
        consecutive_errors: 0,
        error_percent: Some(1),
        window: ms(100),
        min_requests: 1,
        open_for: ms(2000),
        max_open_for: ms(2000),
        half_open_requests: 3,
        half_open_for: ms(4000),
        max_ejected_percent: 0,
        error_on: ErrorOn {
            server_error: true,
            too_many_requests: true,
            grpc: 1 << 14 | 1 << 16,
        },
    };
    assert_eq!(all, expected);
    assert_eq!(breaker("{}"), CircuitBreaker::default());
    for (spec, open_for, max_open_for) in [
        ("{openFor: 2m}", 120_000, 120_000),
        ("{maxOpenFor: 500ms}", 500, 500),
    ] {
        let breaker = breaker(spec);
        assert_eq!(
            (breaker.open_for, breaker.max_open_for),
            (ms(open_for), ms(max_open_for)),
            "{spec}"
        );
    }
    assert_refused(&[
        (
            "circuitBreaker: {consecutiveErrors: -1}",
            "circuitBreaker.consecutiveErrors: -1 is not",
        ),
        (
            "circuitBreaker: {errorPercent: 0}",
            "circuitBreaker.errorPercent: 0 is not a whole number from 1 to 100",
        ),
        (
            "circuitBreaker: {errorPercent: 101}",
            "circuitBreaker.errorPercent: 101 is not",
        ),
        (
            "circuitBreaker: {window: 99ms}",
            "circuitBreaker.window: \"99ms\" is not a duration from 100ms to 1h",
        ),
        (
            "circuitBreaker: {minRequests: 0}",
            "circuitBreaker.minRequests: 0 is not",
        ),
        (
            "circuitBreaker: {openFor: 0s}",
            "circuitBreaker.openFor: \"0s\" is not a duration",
        ),
        (
            "circuitBreaker: {openFor: 2s, maxOpenFor: 1s}",
            "circuitBreaker.openFor: is longer than maxOpenFor",
        ),
        (
            "circuitBreaker: {maxOpenFor: 61m}",
            "circuitBreaker.maxOpenFor: \"61m\" is not a duration from 1ms to 1h",
        ),
        (
            "circuitBreaker: {halfOpenRequests: 0}",
            "circuitBreaker.halfOpenRequests: 0 is not",
        ),
        (
            "circuitBreaker: {halfOpenFor: 2h}",
            "circuitBreaker.halfOpenFor: \"2h\" is not a duration from 1ms to 1h, or 0s",
        ),
        (
            "circuitBreaker: {maxEjectedPercent: 101}",
            "circuitBreaker.maxEjectedPercent: 101 is not",
        ),
        (
            "circuitBreaker: {errorOn: [4xx]}",
            "circuitBreaker.errorOn[0]: \"4xx\" is not one of 5xx, 429",
        ),
        (
            "circuitBreaker: {errorOn: [503]}",
            "circuitBreaker.errorOn[0]: \"503\" is not one of",
        ),
        (
            "circuitBreaker: {errorOn: ['429', 429]}",
            "circuitBreaker.errorOn[1]: \"429\" is there twice",
        ),
        (
            "circuitBreaker: {errorOn: []}",
            "circuitBreaker.errorOn: is required",
        ),
        (
            "circuitBreaker: {errorOn: [{}]}",
            "circuitBreaker.errorOn[0]: expected 5xx, 429 or",
        ),
        (
            "circuitBreaker: {enabled: true}",
            "circuitBreaker.enabled: unknown field",
        ),
    ]);
}

#[test]
fn fallbacks() {
    let found = policy("fallback: {staleIfError: 1h, maxBytes: 64Mi, methods: [GET, HEAD]}");
    let expected = Fallback {
        stale_if_error: ms(3_600_000),
        max_bytes: 64 << 20,
        methods: vec![Method::GET, Method::HEAD],
    };
    assert_eq!(found.fallback, Some(expected));
    assert_refused(&[
        ("fallback: {}", "fallback.staleIfError: is required"),
        (
            "fallback: {staleIfError: 0s}",
            "fallback.staleIfError: \"0s\" is not a duration from 1ms to 168h",
        ),
        (
            "fallback: {staleIfError: 1s, maxBytes: 0}",
            "fallback.maxBytes: \"0\" is not a size of 1 to 67108864",
        ),
        (
            "fallback: {staleIfError: 1s, maxBytes: 65Mi}",
            "fallback.maxBytes: \"65Mi\" is not a size",
        ),
        (
            "fallback: {staleIfError: 1s, methods: [POST]}",
            "fallback.methods[0]: \"POST\" is not one of GET, HEAD",
        ),
        (
            "fallback: {staleIfError: 1s, methods: []}",
            "fallback.methods: is required",
        ),
        (
            "fallback: {staleIfError: 1s, to: b}",
            "fallback.to: unknown field",
        ),
    ]);
}

#[test]
fn load_balancers() {
    let balancer = |spec: &str| {
        policy(&format!("loadBalancer: {spec}"))
            .load_balancer
            .clone()
            .unwrap()
    };
    for (word, algorithm) in [
        ("ewma", Algorithm::Ewma),
        ("least-request", Algorithm::LeastRequest),
        ("round-robin", Algorithm::RoundRobin),
        ("random", Algorithm::Random),
    ] {
        assert_eq!(
            balancer(&format!("{{algorithm: {word}}}")).algorithm,
            algorithm
        );
    }
    for (spec, hash_on) in [
        (
            "{header: X-User}",
            HashOn::Header(HeaderName::from_static("x-user")),
        ),
        ("{cookie: SID}", HashOn::Cookie("SID".into())),
        ("{source: address}", HashOn::Source),
    ] {
        for (word, algorithm) in [
            ("ring-hash", Algorithm::RingHash),
            ("maglev", Algorithm::Maglev),
        ] {
            let found = balancer(&format!("{{algorithm: {word}, hashOn: {spec}}}"));
            assert_eq!(
                (found.algorithm, found.hash_on.as_ref()),
                (algorithm, Some(&hash_on))
            );
        }
    }
    let found = balancer("{slowStart: 30s, locality: prefer-zone}");
    assert_eq!(
        (found.slow_start, found.locality),
        (ms(30_000), Locality::PreferZone)
    );
    assert_eq!(
        balancer("{locality: prefer-node}").locality,
        Locality::PreferNode
    );
    assert_refused(&[
        (
            "loadBalancer: {algorithm: p2c}",
            "loadBalancer.algorithm: \"p2c\" is not one of ewma, least-request",
        ),
        (
            "loadBalancer: {algorithm: maglev}",
            "loadBalancer.hashOn: is required",
        ),
        (
            "loadBalancer: {algorithm: ring-hash}",
            "loadBalancer.hashOn: is required",
        ),
        (
            "loadBalancer: {algorithm: random, hashOn: {source: address}}",
            "loadBalancer.hashOn: cannot be together with algorithm random",
        ),
        (
            "loadBalancer: {hashOn: {source: address}}",
            "loadBalancer.hashOn: cannot be together with algorithm ewma",
        ),
        (
            "loadBalancer: {algorithm: maglev, hashOn: {}}",
            "loadBalancer.hashOn: needs exactly one of header, cookie, source",
        ),
        (
            "loadBalancer: {algorithm: maglev, hashOn: {header: a, cookie: b}}",
            "loadBalancer.hashOn: needs exactly one",
        ),
        (
            "loadBalancer: {algorithm: maglev, hashOn: {header: 'a b'}}",
            "loadBalancer.hashOn.header: \"a b\" is not the name of an HTTP header",
        ),
        (
            "loadBalancer: {algorithm: maglev, hashOn: {cookie: 'a;b'}}",
            "loadBalancer.hashOn.cookie: \"a;b\" is not",
        ),
        (
            "loadBalancer: {algorithm: maglev, hashOn: {source: port}}",
            "loadBalancer.hashOn.source: \"port\" is not one of address",
        ),
        (
            "loadBalancer: {slowStart: 2h}",
            "loadBalancer.slowStart: \"2h\" is not a duration from 1ms to 1h, or 0s",
        ),
        (
            "loadBalancer: {locality: zone}",
            "loadBalancer.locality: \"zone\" is not one of prefer-zone, prefer-node",
        ),
        (
            "loadBalancer: {weights: {}}",
            "loadBalancer.weights: unknown field",
        ),
    ]);
}

#[test]
fn health_checks() {
    let check = |spec: &str| {
        policy(&format!("healthCheck: {spec}"))
            .health_check
            .clone()
            .unwrap()
    };
    let found = check(
        "{path: '/healthz?full=1', interval: 500ms, timeout: 500ms, healthy: 1, unhealthy: 100}",
    );
    let path = "/healthz?full=1".into();
    assert_eq!(found.by, HealthCheckBy::Http { path });
    assert_eq!(
        (
            found.interval,
            found.timeout,
            found.healthy,
            found.unhealthy
        ),
        (ms(500), ms(500), 1, 100)
    );
    let found = check("{tcp: true}");
    assert_eq!(found.by, HealthCheckBy::Tcp);
    assert_eq!(
        (
            found.interval,
            found.timeout,
            found.healthy,
            found.unhealthy
        ),
        (ms(10_000), ms(1000), 2, 3)
    );
    assert_eq!(check("{tcp: true, interval: 200ms}").timeout, ms(200));
    for service in ["", "shop.Cart"] {
        let found = check(&format!("{{grpc: '{service}'}}")).by;
        assert_eq!(
            found,
            HealthCheckBy::Grpc {
                service: service.into()
            }
        );
    }
    assert_refused(&[
        (
            "healthCheck: {}",
            "healthCheck: needs exactly one of path, grpc, tcp",
        ),
        (
            "healthCheck: {path: /, tcp: true}",
            "healthCheck: needs exactly one",
        ),
        (
            "healthCheck: {tcp: false}",
            "healthCheck.tcp: \"false\" is not one of true",
        ),
        (
            "healthCheck: {path: healthz}",
            "healthCheck.path: \"healthz\" is not a path",
        ),
        ("healthCheck: {path: ''}", "healthCheck.path: is required"),
        (
            "healthCheck: {path: '/a b'}",
            "healthCheck.path: \"/a b\" is not a path",
        ),
        ("healthCheck: {path: '/a?b=\"'}", "healthCheck.path: "),
        (
            "healthCheck: {grpc: a-b}",
            "healthCheck.grpc: \"a-b\" is not a name of protobuf",
        ),
        (
            "healthCheck: {tcp: true, interval: 99ms}",
            "healthCheck.interval: \"99ms\" is not a duration from 100ms to 1h",
        ),
        (
            "healthCheck: {tcp: true, timeout: 0s}",
            "healthCheck.timeout: \"0s\" is not a duration",
        ),
        (
            "healthCheck: {tcp: true, timeout: 2s, interval: 1s}",
            "healthCheck.timeout: is longer than interval",
        ),
        (
            "healthCheck: {tcp: true, timeout: 11s}",
            "healthCheck.timeout: is longer than interval",
        ),
        (
            "healthCheck: {tcp: true, healthy: 0}",
            "healthCheck.healthy: 0 is not a whole number from 1 to 100",
        ),
        (
            "healthCheck: {tcp: true, unhealthy: 101}",
            "healthCheck.unhealthy: 101 is not",
        ),
        (
            "healthCheck: {tcp: true, port: 80}",
            "healthCheck.port: unknown field",
        ),
    ]);
    let long = format!("healthCheck: {{path: '/{}'}}", "a".repeat(1024));
    assert_refused(&[(&long, "healthCheck.path: is longer than 1024 bytes")]);
}

#[test]
fn rate_limits() {
    let found =
        policy("rateLimit: [{requests: 5}, {requests: 1, per: 1m, burst: 2, by: {header: X-Key}}]");
    let by = RateLimitBy::Header(HeaderName::from_static("x-key"));
    let limit = |requests, per, burst, by| RateLimit {
        requests,
        per: ms(per),
        burst,
        by,
    };
    assert_eq!(
        found.rate_limits,
        [limit(5, 1000, 5, RateLimitBy::All), limit(1, 60_000, 2, by)]
    );
    assert_refused(&[
        (
            "rateLimit: [{per: 1s}]",
            "rateLimit[0].requests: is required",
        ),
        (
            "rateLimit: [{requests: 0}]",
            "rateLimit[0].requests: 0 is not a whole number from 1 to 1000000",
        ),
        (
            "rateLimit: [{requests: 1, per: 0s}]",
            "rateLimit[0].per: \"0s\" is not a duration from 1ms to 1h",
        ),
        (
            "rateLimit: [{requests: 1, burst: 0}]",
            "rateLimit[0].burst: 0 is not",
        ),
        (
            "rateLimit: [{requests: 1, by: {}}]",
            "rateLimit[0].by: needs exactly one of source, header",
        ),
        (
            "rateLimit: [{requests: 1, by: {source: identity, header: a}}]",
            "rateLimit[0].by: needs exactly one",
        ),
        (
            "rateLimit: [{requests: 1, by: {source: address}}]",
            "rateLimit[0].by.source: \"address\" is not one of identity",
        ),
        (
            "rateLimit: [{requests: 1, by: {header: 'a:'}}]",
            "rateLimit[0].by.header: \"a:\" is not",
        ),
        (
            "rateLimit: [{requests: 1, unit: s}]",
            "rateLimit[0].unit: unknown field",
        ),
        ("rateLimit: {requests: 1}", "rateLimit: invalid type: map"),
    ]);
    let many = format!("rateLimit: [{}]", ["{requests: 1}"; 17].join(", "));
    assert_refused(&[(&many, "rateLimit: has more than 16 items")]);
}

#[test]
fn concurrency() {
    let concurrency = |spec: &str| policy(&format!("concurrency: {spec}")).concurrency;
    assert_eq!(
        concurrency("{limit: 3, queue: 4}"),
        Some(Concurrency { limit: 3, queue: 4 })
    );
    assert_eq!(
        concurrency("{limit: 3}"),
        Some(Concurrency { limit: 3, queue: 0 })
    );
    assert_refused(&[
        ("concurrency: {}", "concurrency.limit: is required"),
        (
            "concurrency: {limit: 0}",
            "concurrency.limit: 0 is not a whole number from 1 to 1000000",
        ),
        (
            "concurrency: {limit: 1, queue: -1}",
            "concurrency.queue: -1 is not",
        ),
        (
            "concurrency: {adaptive: {}}",
            "concurrency.adaptive: this version does not do it yet",
        ),
        ("concurrency: {max: 1}", "concurrency.max: unknown field"),
    ]);
}

#[test]
fn faults() {
    let fault = policy("fault: {delay: {percent: 100, duration: 50ms, headers: [{name: X-Fault, value: slow}]}, abort: {percent: 0, status: 503}}").fault.clone();
    let delay = fault.delay.unwrap();
    assert_eq!((delay.percent, delay.duration), (100, ms(50)));
    let exact = TextMatch::Exact("slow".into());
    assert_eq!(delay.headers, [(HeaderName::from_static("x-fault"), exact)]);
    let abort = fault.abort.unwrap();
    assert_eq!(
        (abort.percent, abort.answer),
        (0, AbortWith::Status(StatusCode::SERVICE_UNAVAILABLE))
    );
    for status in ["14", "unavailable"] {
        let fault = policy(&format!(
            "fault: {{abort: {{percent: 1, grpcStatus: {status}}}}}"
        ))
        .fault
        .clone();
        assert_eq!(fault.abort.unwrap().answer, AbortWith::Grpc(14));
    }
    assert_refused(&[
        (
            "fault: {delay: {duration: 1s}}",
            "fault.delay.percent: is required",
        ),
        (
            "fault: {delay: {percent: 1}}",
            "fault.delay.duration: is required",
        ),
        (
            "fault: {delay: {percent: 101, duration: 1s}}",
            "fault.delay.percent: 101 is not a whole number from 0 to 100",
        ),
        (
            "fault: {delay: {percent: 1, duration: 0s}}",
            "fault.delay.duration: \"0s\" is not a duration from 1ms to 1h",
        ),
        (
            "fault: {delay: {percent: 1, duration: 1s, headers: [{type: Prefix, name: a, value: b}]}}",
            "fault.delay.headers[0].type: \"Prefix\" is not one of Exact, RegularExpression",
        ),
        (
            "fault: {abort: {percent: 1}}",
            "fault.abort: needs exactly one of status, grpcStatus",
        ),
        (
            "fault: {abort: {percent: 1, status: 500, grpcStatus: 1}}",
            "fault.abort: needs exactly one",
        ),
        (
            "fault: {abort: {status: 500}}",
            "fault.abort.percent: is required",
        ),
        (
            "fault: {abort: {percent: 1, status: 199}}",
            "fault.abort.status: 199 is not a whole number from 200 to 599",
        ),
        (
            "fault: {abort: {percent: 1, status: 600}}",
            "fault.abort.status: 600 is not",
        ),
        (
            "fault: {abort: {percent: 1, grpcStatus: 0}}",
            "fault.abort.grpcStatus: 0 is not a whole number from 1 to 16",
        ),
        (
            "fault: {abort: {percent: 1, grpcStatus: 17}}",
            "fault.abort.grpcStatus: 17 is not",
        ),
        (
            "fault: {abort: {percent: 1, grpcStatus: UNAVAILABLE}}",
            "fault.abort.grpcStatus: \"UNAVAILABLE\" is not one of cancelled",
        ),
        (
            "fault: {abort: {percent: 1, grpcStatus: []}}",
            "fault.abort.grpcStatus: expected the name",
        ),
        (
            "fault: {abort: {percent: 1, status: 500, headers: [{type: RegularExpression, name: a, value: '('}]}}",
            "fault.abort.headers[0].value: \"(\" is not a regular expression",
        ),
        ("fault: {reset: {}}", "fault.reset: unknown field"),
    ]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let found = errors(&yaml(
        SERVICE,
        "timeouts: {request: x}, retries: {attempts: 99}, rateLimit: [{}, {requests: 1, burst: 0}]",
    ));
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_routes_own_retries() {
    let route = |retry: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{{retry: {retry}}}]}}}}"
        )
    };
    let retries = |retry: &str| match resource(&route(retry)) {
        Resource::Route(route) => route.rules[0].retries.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(retries("null"), RetryPolicy::default());
    let found = retries("{codes: [503, 500, 503], attempts: 3, backoff: 1s}");
    let on = RetryOn {
        connect_failure: true,
        refused_stream: true,
        reset: true,
        timeout: true,
        statuses: vec![
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::INTERNAL_SERVER_ERROR,
        ],
        ..RetryOn::default()
    };
    let expected = RetryPolicy {
        attempts: Some(3),
        on: Some(on),
        backoff_base: Some(ms(1000)),
        backoff_max: Some(ms(1000)),
        ..RetryPolicy::default()
    };
    assert_eq!(found, expected);
    assert_eq!(retries("{}").attempts, None);
    for (retry, expected) in [
        (
            "{codes: [200]}",
            "codes[0]: 200 is not a whole number from 400 to 599",
        ),
        ("{codes: [503, 600]}", "codes[1]: 600 is not"),
        (
            "{attempts: 11}",
            "attempts: 11 is not a whole number from 0 to 10",
        ),
        (
            "{backoff: 0s}",
            "backoff: \"0s\" is not a duration from 1ms to 1h",
        ),
        ("{on: [5xx]}", "on: unknown field"),
    ] {
        assert_errors(&[(&route(retry), &format!("spec.rules[0].retry.{expected}"))]);
    }
    let many = format!("{{codes: [{}]}}", ["500"; 65].join(", "));
    assert_errors(&[(
        &route(&many),
        "spec.rules[0].retry.codes: has more than 64 items",
    )]);
}
