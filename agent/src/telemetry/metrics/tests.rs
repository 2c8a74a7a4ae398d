use std::time::Duration;

use crate::{
    model::seams::{CertificateEvents, Clock, SystemClock},
    telemetry::{
        Direction, TlsSide,
        exposition::Format,
        reason::Reason,
        testing::{dial, id, promtool, telemetry, workload},
    },
};

#[test]
fn everything_has_its_documented_name() {
    let (telemetry, _) = telemetry();
    let metrics = telemetry.metrics();
    metrics.read_capture_verdicts_from(Box::new(|| vec![("captured", 3), ("bypassed", 1)]));
    metrics.set_captured_pods(4, 1);
    metrics.capture_probe_failed();
    metrics.config_applied(7, 2, SystemClock.now() - Duration::from_secs(5));
    metrics.set_policy_conflicts(3);
    metrics.tls_handshake_failed(TlsSide::Client, "expired");
    metrics.limit_reached("connections_per_pod");
    let _guards = (
        metrics.hbone_connection(Direction::Outbound),
        metrics.hbone_stream(Direction::Inbound),
    );
    metrics.set_drain_connections(1);
    let value = |name, labels: &[&str]| telemetry.value(name, labels);

    let version = format!(r#"version="{}""#, env!("CARGO_PKG_VERSION"));
    assert_eq!(value("weir_build_info", &[&version]), Some(1.0));
    assert_eq!(
        value("weir_capture_verdicts_total", &[r#"verdict="captured""#]),
        Some(3.0)
    );
    assert_eq!(value("weir_captured_pods", &[]), Some(4.0));
    assert_eq!(value("weir_pods_pending", &[]), Some(1.0));
    assert_eq!(value("weir_capture_probe_failures_total", &[]), Some(1.0));
    assert_eq!(value("weir_config_generation", &[]), Some(7.0));
    assert_eq!(value("weir_config_rejected_objects", &[]), Some(2.0));
    assert_eq!(value("weir_config_policy_conflicts", &[]), Some(3.0));
    let age = value("weir_config_age_seconds", &[]).unwrap();
    assert!((5.0..60.0).contains(&age), "{age}");
    let labels = [r#"side="client",reason="expired""#];
    assert_eq!(
        value("weir_tls_handshake_failures_total", &labels),
        Some(1.0)
    );
    let limit = [r#"limit="connections_per_pod""#];
    assert_eq!(value("weir_limits_reached_total", &limit), Some(1.0));
    let outbound = [r#"direction="outbound""#];
    assert_eq!(value("weir_hbone_connections", &outbound), Some(1.0));
    assert_eq!(value("weir_hbone_streams_active", &outbound), Some(0.0));
    assert_eq!(value("weir_hbone_streams_active", &[]), Some(1.0));
    assert_eq!(value("weir_drain_connections", &[]), Some(1.0));
    assert_eq!(
        value("weir_connection_failures_total", &[r#"reason="internal""#]),
        Some(0.0)
    );
    assert_eq!(
        value("weir_connection_failures_total", &[r#"reason="ok""#]),
        None
    );
    assert_eq!(
        value("weir_request_failures_total", &[r#"reason="no_route""#]),
        Some(0.0)
    );
    assert_eq!(value("weir_trace_spans_sent_total", &[]), Some(0.0));
    assert_eq!(value("weir_trace_spans_dropped_total", &[]), Some(0.0));
    assert_eq!(value("weir_metrics_series_overflow_total", &[]), Some(0.0));
    assert_eq!(value("weir_access_log_dropped_total", &[]), Some(0.0));
}

#[test]
fn a_certificate_shows_how_long_it_is_good_while_it_is_in_use() {
    let (telemetry, _) = telemetry();
    let metrics = telemetry.metrics();
    let value = |name, labels: &[&str]| telemetry.value(name, labels);
    let hour = Duration::from_secs(3600);
    metrics.issued(&id("web"), SystemClock.wall() + hour);
    metrics.failed(&id("web"));
    let web = [r#"identity="spiffe://cluster.local/ns/shop/sa/web""#];
    let left = value("weir_certificate_expiry_seconds", &web).unwrap();
    assert!((3500.0..=3600.0).contains(&left), "{left}");
    assert_eq!(
        value("weir_certificate_renewals_total", &[r#"outcome="issued""#]),
        Some(1.0)
    );
    assert_eq!(
        value("weir_certificate_renewals_total", &[r#"outcome="failed""#]),
        Some(1.0)
    );

    metrics.removed(&id("web"));
    assert_eq!(value("weir_certificate_expiry_seconds", &web), None);
    metrics.issued(&id("web"), SystemClock.wall() - hour);
    let left = value("weir_certificate_expiry_seconds", &web).unwrap();
    assert!(
        (-3601.0..=-3599.0).contains(&left),
        "an expired one shows how long: {left}"
    );
}

#[test]
fn guards_count_until_they_are_dropped() {
    let (telemetry, _) = telemetry();
    let streams = || telemetry.value("weir_hbone_streams_active", &[]);
    let guards: Vec<_> = (0..3)
        .map(|_| telemetry.metrics().hbone_stream(Direction::Inbound))
        .collect();
    assert_eq!(streams(), Some(3.0));
    drop(guards);
    assert_eq!(streams(), Some(0.0));
}

/// With `promtool` at hand (Debian: package prometheus) its word counts. It reads the older
/// format; what it says of good style is kept to as well.
#[test]
fn prometheus_finds_no_fault_with_the_text_format() {
    let (telemetry, _) = telemetry();
    let metrics = telemetry.metrics();
    metrics.read_capture_verdicts_from(Box::new(|| vec![("captured", 3)]));
    metrics.config_applied(7, 2, SystemClock.now());
    metrics.tls_handshake_failed(TlsSide::Server, "no_certificate");
    metrics.limit_reached("connections_per_pod");
    metrics.issued(&id("web"), SystemClock.wall());
    let odd = "quote \" slash \\ line \n end";
    let client = workload("client", "client-1", &[("app", odd)]);
    let web = workload("web", "web-1", &[]);
    telemetry
        .worker()
        .open(dial(&client, &web))
        .finish(Reason::Ok, None);
    match promtool(&telemetry.text()) {
        Some(said) => assert_eq!(said, ""),
        None => eprintln!("promtool is not installed: the format is checked by its own tests only"),
    }
    assert!(telemetry.expose(Format::OpenMetrics).ends_with("# EOF\n"));
}
