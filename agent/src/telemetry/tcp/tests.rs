use std::sync::atomic::AtomicBool;

use super::*;
use crate::{
    model::{
        mesh::{AccessLogFormat, AccessLogMode},
        service::ServiceState,
    },
    telemetry::{
        PodKey, Settings,
        series::CACHE_ENTRIES_MAX,
        testing::{
            END_LABELS, address, dial, id, logging, only_alive, service, telemetry, telemetry_with,
            workload,
        },
    },
};

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const SENT: &str = "istio_tcp_sent_bytes_total";
const RECEIVED: &str = "istio_tcp_received_bytes_total";

#[test]
fn a_connection_has_all_labels_of_the_standard() {
    let (telemetry, _) = telemetry();
    let client = workload("client", "client-1", &[]);
    let web = workload("web", "web-1", &[("app", "web"), ("version", "v2")]);
    let record = telemetry.worker().open(dial(&client, &web));
    record.sent(5);
    record.received(7);
    let text = telemetry.text();
    let line = text.lines().find(|line| line.starts_with(OPENED)).unwrap();
    assert_eq!(
        line,
        format!(
            "{OPENED}{{{END_LABELS}{}",
            r#"request_protocol="tcp",response_flags="-",connection_security_policy="mutual_tls"} 1"#
        )
    );
    assert_eq!(
        telemetry.value(SENT, &[]),
        Some(5.0),
        "while the connection is open"
    );
    assert_eq!(telemetry.value(RECEIVED, &[]), Some(7.0));
    assert_eq!(telemetry.value(CLOSED, &[]), Some(0.0));
    assert_eq!(telemetry.value("weir_connections_active", &[]), Some(1.0));

    record.finish(Reason::UpstreamReset, None);
    assert_eq!(
        telemetry.value(CLOSED, &[r#"response_flags="UC""#]),
        Some(1.0)
    );
    assert_eq!(telemetry.value("weir_connections_active", &[]), Some(0.0));
    let failures = "weir_connection_failures_total";
    assert_eq!(
        telemetry.value(failures, &[r#"{reason="upstream_reset"}"#]),
        Some(1.0)
    );
    assert_eq!(telemetry.value(failures, &[]), Some(1.0));
}

#[test]
fn what_is_not_known_is_unknown() {
    let (telemetry, _) = telemetry();
    let info = ConnectionInfo::new(
        Reporter::Destination,
        address("192.0.2.1:1"),
        address("10.0.0.2:80"),
    );
    telemetry
        .worker()
        .begin(info)
        .finish(Reason::PlaintextRefused, None);
    let labels = [
        r#"reporter="destination""#,
        r#"source_workload="unknown""#,
        r#"source_cluster="unknown""#,
        r#"destination_canonical_revision="unknown""#,
        r#"destination_service="unknown""#,
        r#"connection_security_policy="none""#,
    ];
    assert_eq!(telemetry.value(OPENED, &labels), Some(1.0));
    assert_eq!(
        telemetry.value(CLOSED, &[r#"response_flags="UAEX""#]),
        Some(1.0)
    );
}

#[test]
fn the_endpoint_may_be_found_late() {
    let (telemetry, _) = telemetry();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let mut info = dial(&client, &web);
    info.destination = None;
    let mut record = telemetry.worker().begin(info);
    record.received(3);
    assert_eq!(
        telemetry.value(OPENED, &[]),
        None,
        "not before it is established"
    );
    record.info_mut().destination = Some(web);
    record.established();
    record.established();
    record.received(4);
    assert_eq!(
        telemetry.value(OPENED, &[r#"destination_workload="web""#]),
        Some(1.0)
    );
    assert_eq!(telemetry.value(RECEIVED, &[]), Some(7.0));
    record.finish(Reason::Ok, None);
    assert_eq!(
        telemetry.value(CLOSED, &[r#"response_flags="-""#]),
        Some(1.0)
    );
}

#[test]
fn a_record_that_is_dropped_is_an_internal_error() {
    let (telemetry, _) = telemetry();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    drop(telemetry.worker().open(dial(&client, &web)));
    assert_eq!(
        telemetry.value(CLOSED, &[r#"response_flags="LR""#]),
        Some(1.0)
    );
    let labels = [r#"reason="internal""#];
    assert_eq!(
        telemetry.value("weir_connection_failures_total", &labels),
        Some(1.0)
    );
    assert_eq!(telemetry.value("weir_connections_active", &[]), Some(0.0));
}

#[test]
fn pods_of_one_workload_share_a_series_until_the_last_is_gone() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let client = workload("client", "client-1", &[]);
    let (web1, web2) = (workload("web", "web-1", &[]), workload("web", "web-2", &[]));
    for web in [&web1, &web2, &web1] {
        worker.open(dial(&client, web)).finish(Reason::Ok, None);
    }
    assert_eq!(telemetry.value(OPENED, &[]), Some(3.0));
    only_alive(&telemetry, &[&client, &web2]);
    assert_eq!(telemetry.value(OPENED, &[]), Some(3.0));
    only_alive(&telemetry, &[&client]);
    assert_eq!(telemetry.value(OPENED, &[]), None);
    assert_eq!(telemetry.value(SENT, &[]), None);

    worker.open(dial(&client, &web2)).finish(Reason::Ok, None);
    assert_eq!(
        telemetry.value(OPENED, &[]),
        Some(1.0),
        "a cache does not bring back the old one"
    );
    only_alive(&telemetry, &[&client]);
    assert_eq!(
        telemetry.value(OPENED, &[]),
        None,
        "and what came late goes the next time"
    );
}

#[test]
fn a_series_stays_while_a_connection_is_open() {
    let (telemetry, _) = telemetry();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let record = telemetry.worker().open(dial(&client, &web));
    only_alive(&telemetry, &[&client]);
    record.sent(9);
    assert_eq!(telemetry.value(SENT, &[]), Some(9.0));
    record.finish(Reason::Ok, None);
    assert_eq!(telemetry.value(SENT, &[]), None);
}

#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let (telemetry, _) = telemetry();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-0", &[]),
    );
    telemetry
        .worker()
        .open(dial(&client, &web))
        .finish(Reason::Ok, None);
    let mut next = PodKey::of(&web);
    next.uid = "another".into();
    let alive = [PodKey::of(&client), next];
    telemetry.retain_pods(|pod| alive.contains(pod));
    assert_eq!(telemetry.value(OPENED, &[]), None);
}

#[test]
fn a_workload_that_revives_its_series_keeps_it() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let client = workload("client", "client-1", &[]);
    let (web1, web2) = (workload("web", "web-1", &[]), workload("web", "web-2", &[]));
    let old = worker.open(dial(&client, &web1));
    only_alive(&telemetry, &[&client, &web2]);
    let new = worker.open(dial(&client, &web2));
    old.finish(Reason::Ok, None);
    new.finish(Reason::Ok, None);
    assert_eq!(telemetry.value(OPENED, &[]), Some(2.0));
}

#[test]
fn too_many_label_sets_are_counted_together() {
    let settings = Settings {
        label_sets_max: 3,
        ..Settings::default()
    };
    let (telemetry, _) = telemetry_with(settings);
    let worker = telemetry.worker();
    let client = workload("client", "client-1", &[]);
    let web = |index: usize| workload(&format!("web-{index}"), &format!("web-{index}-0"), &[]);
    for index in 0..10 {
        let web = web(index);
        let record = worker.open(dial(&client, &web));
        record.sent(1);
        record.finish(Reason::Ok, None);
    }
    let text = telemetry.text();
    let series = text.lines().filter(|line| line.starts_with(OPENED)).count();
    assert_eq!(series, 4, "three and the rest");
    assert_eq!(
        telemetry.value(OPENED, &[r#"source_workload="unknown""#]),
        Some(7.0)
    );
    assert_eq!(telemetry.value(SENT, &[]), Some(10.0), "nothing is lost");
    assert_eq!(
        telemetry.value("weir_metrics_series_overflow_total", &[]),
        Some(7.0)
    );

    only_alive(&telemetry, &[&client]);
    worker
        .open(dial(&client, &web(11)))
        .finish(Reason::Ok, None);
    let labels = [r#"destination_workload="web-11""#];
    assert_eq!(
        telemetry.value(OPENED, &labels),
        Some(1.0),
        "there is room again"
    );
}

#[test]
fn a_worker_remembers_what_it_resolved() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let client = workload("client", "client-1", &[]);
    let mut records = Vec::new();
    for index in 0..CACHE_ENTRIES_MAX + 10 {
        let web = workload("web", &format!("web-{index}"), &[]);
        records.push(worker.open(dial(&client, &web)));
    }
    assert!(worker.0.tcp.borrow().len() <= CACHE_ENTRIES_MAX);
    assert_eq!(telemetry.value(OPENED, &[]), Some(records.len() as f64));
    for record in records {
        record.finish(Reason::Ok, None);
    }
}

#[test]
fn a_change_of_endpoints_does_not_miss_the_cache() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let mut info = dial(&client, &web);
    worker.open(info.clone()).finish(Reason::Ok, None);
    let state = info.service.take().unwrap();
    info.service = Some(Arc::new(ServiceState {
        policy: None,
        service: Arc::clone(&state.service),
        endpoints: Vec::new(),
    }));
    worker.open(info.clone()).finish(Reason::Ok, None);
    assert_eq!(worker.0.tcp.borrow().len(), 1);
    info.service = Some(service("web"));
    worker.open(info.clone()).finish(Reason::Ok, None);
    assert_eq!(worker.0.tcp.borrow().len(), 2);
    info.source_principal = Some(id("somebody"));
    worker.open(info).finish(Reason::Ok, None);
    assert_eq!(worker.0.tcp.borrow().len(), 3);
    let text = telemetry.text();
    assert_eq!(
        text.lines().filter(|line| line.starts_with(OPENED)).count(),
        2
    );
}

/// Workers open and close while pods come and go: nothing is counted where nobody looks.
#[test]
fn no_connection_is_lost_between_workers_and_the_control_side() {
    let (telemetry, _) = telemetry();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let other = workload("other", "other-1", &[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let worker = telemetry.worker();
                    let held = worker.open(dial(&client, &other));
                    for _ in 0..20_000 {
                        worker.open(dial(&client, &web)).finish(Reason::Ok, None);
                        held.sent(1);
                    }
                    held.finish(Reason::Ok, None);
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                only_alive(&telemetry, &[&client]);
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        stop.store(true, Relaxed);
    });
    only_alive(&telemetry, &[&client]);
    assert_eq!(
        telemetry.value(OPENED, &[]),
        None,
        "everything is gone in the end"
    );
    assert_eq!(telemetry.value("weir_connections_active", &[]), Some(0.0));
}

#[test]
fn the_access_log_follows_its_mode() {
    let (telemetry, sink) = telemetry();
    let worker = telemetry.worker();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let pass = |reason| worker.open(dial(&client, &web)).finish(reason, None);
    let set = |mode| logging(&telemetry, mode, AccessLogFormat::Json);
    let written = || {
        telemetry.written();
        sink.lines().len()
    };
    pass(Reason::Internal);
    assert_eq!(written(), 0, "off by default");
    set(AccessLogMode::Errors);
    pass(Reason::Ok);
    pass(Reason::IdleTimeout);
    assert_eq!(written(), 1);
    set(AccessLogMode::All);
    pass(Reason::Ok);
    assert_eq!(written(), 2);
}
