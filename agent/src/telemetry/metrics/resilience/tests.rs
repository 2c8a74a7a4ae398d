use super::*;
use crate::telemetry::{
    BreakerObserved, PoolObserved, SERVICES_OBSERVED_MAX, ServicesObserved,
    exposition::Format,
    testing::{promtool, telemetry},
};

fn web() -> ObjectName {
    ObjectName::new("shop", "web")
}

const WEB: [&str; 2] = [
    r#"destination_service_name="web""#,
    r#"destination_service_namespace="shop""#,
];

#[test]
fn the_lists_are_in_the_order_of_their_counters() {
    for (index, outcome) in RetryOutcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, index, "{}", outcome.as_str());
    }
    for (index, limit) in PoolLimit::ALL.into_iter().enumerate() {
        assert_eq!(limit as usize, index, "{}", limit.as_str());
    }
    for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index, "{}", kind.as_str());
    }
}

#[test]
fn everything_counts_under_its_documented_name() {
    let (telemetry, _) = telemetry();
    let metrics = telemetry.metrics();
    let counters = [
        ("weir_retries_total", "outcome", "succeeded"),
        ("weir_retries_total", "outcome", "failed"),
        ("weir_retries_total", "outcome", "budget_exhausted"),
        ("weir_retries_total", "outcome", "body_too_large"),
        ("weir_retries_total", "outcome", "attempts_exhausted"),
        ("weir_retries_total", "outcome", "nested"),
        ("weir_pool_overflows_total", "limit", "connections"),
        ("weir_pool_overflows_total", "limit", "pending"),
        ("weir_pool_overflows_total", "limit", "requests"),
        ("weir_rate_limited_total", "by", "all"),
        ("weir_rate_limited_total", "by", "identity"),
        ("weir_rate_limited_total", "by", "header"),
        ("weir_faults_injected_total", "kind", "delay"),
        ("weir_faults_injected_total", "kind", "abort"),
        ("weir_health_checks_total", "outcome", "success"),
        ("weir_health_checks_total", "outcome", "failure"),
        ("weir_requests_shed_total", "", ""),
        ("weir_stale_answers_total", "", ""),
    ];
    let values = || {
        counters.map(|(metric, label, value)| match label {
            "" => telemetry.value(metric, &[]),
            label => telemetry.value(metric, &[&format!("{label}=\"{value}\"")]),
        })
    };
    assert_eq!(values(), counters.map(|_| Some(0.0)), "zero from the start");

    for (times, outcome) in (1..).zip(RetryOutcome::ALL) {
        (0..times).for_each(|_| metrics.retry(outcome));
    }
    for (times, limit) in (1..).zip(PoolLimit::ALL) {
        (0..times).for_each(|_| metrics.pool_overflow(limit));
    }
    for (times, by) in [(1, "all"), (2, "identity"), (3, "header")] {
        (0..times).for_each(|_| metrics.rate_limited(by));
    }
    metrics.fault(FaultKind::Delay);
    (0..2).for_each(|_| metrics.fault(FaultKind::Abort));
    metrics.health_check(true);
    (0..2).for_each(|_| metrics.health_check(false));
    (0..4).for_each(|_| metrics.request_shed());
    (0..5).for_each(|_| metrics.stale_answer());
    let counted = [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 3, 1, 2, 1, 2, 4, 5];
    assert_eq!(values(), counted.map(|count| Some(f64::from(count))));
}

#[test]
fn transitions_are_counted_by_service_up_to_a_bound() {
    let (telemetry, _) = telemetry();
    let metrics = telemetry.metrics();
    let transitions = |labels: &[&str]| telemetry.value("weir_breaker_transitions_total", labels);
    metrics.breaker_transition(&web(), "open");
    metrics.breaker_transition(&web(), "half_open");
    metrics.breaker_transition(&web(), "open");
    assert_eq!(
        transitions(&[&WEB[..], &[r#"to="open""#]].concat()),
        Some(2.0)
    );
    assert_eq!(
        transitions(&[&WEB[..], &[r#"to="half_open""#]].concat()),
        Some(1.0)
    );

    for number in 1..BREAKER_SERVICES_MAX + 3 {
        let service = ObjectName::new("many", format!("s{number}"));
        metrics.breaker_transition(&service, "open");
    }
    let named = transitions(&[r#"destination_service_namespace="many""#]);
    assert_eq!(named, Some(1023.0), "web is one of {BREAKER_SERVICES_MAX}");
    let other = [
        r#"destination_service_name="other""#,
        r#"destination_service_namespace="other""#,
    ];
    assert_eq!(transitions(&other), Some(3.0));
    let reached = [r#"limit="breaker_services""#];
    assert_eq!(
        telemetry.value("weir_limits_reached_total", &reached),
        Some(3.0)
    );
    metrics.breaker_transition(&web(), "closed");
    assert_eq!(
        transitions(&[&WEB[..], &[r#"to="closed""#]].concat()),
        Some(1.0),
        "who has a name keeps it"
    );
}

#[test]
fn the_state_of_services_is_read_at_the_scrape() {
    let (telemetry, _) = telemetry();
    let breaker = |address: &str, state| BreakerObserved {
        service: web(),
        endpoint: address.parse().unwrap(),
        state,
    };
    let observed = ServicesObserved {
        breakers: vec![
            breaker("10.0.0.1:8080", "open"),
            breaker("[fd00::1]:8080", "half_open"),
        ],
        unhealthy: vec![(web(), 3)],
        pools: vec![PoolObserved {
            service: web(),
            connections: 4,
            pending: 5,
            requests: 6,
        }],
        queued: 7,
        stale_bytes: 8,
        stale_answers_kept: 9,
    };
    let value = |metric, labels: &[&str]| telemetry.value(metric, labels);
    assert_eq!(value("weir_concurrency_queue", &[]), None, "nobody tells");
    telemetry
        .metrics()
        .read_services_from(Box::new(move || observed.clone()));
    let endpoint = |label| [&WEB[..], &[label]].concat();
    for (label, state) in [
        (r#"endpoint="10.0.0.1:8080""#, 2.0),
        (r#"endpoint="[fd00::1]:8080""#, 1.0),
    ] {
        assert_eq!(
            value("weir_breaker_state", &endpoint(label)),
            Some(state),
            "{label}"
        );
    }
    for (metric, expected) in [
        ("weir_unhealthy_endpoints", 3.0),
        ("weir_pool_connections", 4.0),
        ("weir_pool_pending_requests", 5.0),
        ("weir_pool_requests", 6.0),
    ] {
        assert_eq!(value(metric, &WEB), Some(expected), "{metric}");
    }
    assert_eq!(value("weir_concurrency_queue", &[]), Some(7.0));
    assert_eq!(value("weir_stale_answers_bytes", &[]), Some(8.0));
    assert_eq!(value("weir_stale_answers_kept", &[]), Some(9.0));
    telemetry.metrics().breaker_transition(&web(), "open");
    if let Some(said) = promtool(&telemetry.expose(Format::Text)) {
        assert_eq!(said, "");
    }
}

#[test]
fn what_is_read_at_the_scrape_is_bounded() {
    let (telemetry, _) = telemetry();
    telemetry.metrics().read_services_from(Box::new(|| {
        let service = |number: usize| ObjectName::new("many", format!("s{number}"));
        let unhealthy = (0..=SERVICES_OBSERVED_MAX).map(|number| (service(number), 1));
        ServicesObserved {
            unhealthy: unhealthy.collect(),
            ..ServicesObserved::default()
        }
    }));
    assert_eq!(
        telemetry.value("weir_unhealthy_endpoints", &[]),
        Some(SERVICES_OBSERVED_MAX as f64)
    );
    let reached = [r#"limit="services_observed""#];
    // Told at the next scrape: a scrape's own counters are written first.
    assert!(telemetry.value("weir_limits_reached_total", &reached) >= Some(1.0));
}
