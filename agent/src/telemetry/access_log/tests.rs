use std::{
    sync::{Condvar, Mutex},
    time::SystemTime,
};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::*;
use crate::{
    model::mesh::{AccessLog as Settings, AccessLogField, PerNamespace, Share},
    telemetry::{
        Reason, Settings as TelemetrySettings,
        testing::{dial, logging, telemetry, telemetry_with, workload},
    },
};

#[test]
fn a_json_line_tells_all_that_is_known() {
    let (telemetry, sink) = telemetry();
    logging(&telemetry, AccessLogMode::All, AccessLogFormat::Json);
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let mut record = telemetry.worker().open(dial(&client, &web));
    record.sent(10);
    record.received(20);
    record.set_policy("shop/deny-all".into());
    record.finish(Reason::PolicyDenied, Some("status 401".into()));
    telemetry.written();
    let lines = sink.lines();
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("reporter"), "source");
    assert_eq!(text("reason"), "policy_denied");
    assert_eq!(text("response_flags"), "UAEX");
    assert_eq!(text("source_address"), "10.0.0.1:40000");
    assert_eq!(text("source_pod"), "client-1");
    assert_eq!(text("source_workload"), "client");
    assert_eq!(
        text("source_principal"),
        "spiffe://cluster.local/ns/shop/sa/client"
    );
    assert_eq!(text("original_destination"), "10.96.0.1:80");
    assert_eq!(text("destination_address"), "10.0.0.2:8080");
    assert_eq!(text("destination_namespace"), "shop");
    assert_eq!(text("destination_service"), "web.shop.svc.cluster.local");
    assert_eq!(text("connection_security_policy"), "mutual_tls");
    assert_eq!(text("request_protocol"), "tcp");
    assert_eq!(text("detail"), "status 401");
    assert_eq!(text("policy"), "shop/deny-all");
    assert_eq!(
        (line["bytes_sent"].as_u64(), line["bytes_received"].as_u64()),
        (Some(10), Some(20))
    );
    assert!(line["duration_ms"].as_f64().unwrap() >= 0.0);
    assert!(OffsetDateTime::parse(&text("time"), &Rfc3339).is_ok());
}

#[test]
fn a_text_line_is_one_line_whatever_the_detail_says() {
    let (telemetry, sink) = telemetry();
    logging(&telemetry, AccessLogMode::All, AccessLogFormat::Text);
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let detail = "first\nsecond \"quoted\"".into();
    telemetry
        .worker()
        .open(dial(&client, &web))
        .finish(Reason::ConnectFailed, Some(detail));
    telemetry.written();
    let lines = sink.lines();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("source      connect_failed shop/client-1 (10.0.0.1:40000) -> shop/web-1 (10.0.0.2:8080) service=web.shop.svc.cluster.local security=mutual_tls sent=0 received=0"),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].ends_with(r#"detail="first\nsecond \"quoted\"""#),
        "{}",
        lines[0]
    );
}

/// An output that blocks until it is let go, as a pipe does that nobody reads.
#[derive(Clone, Default)]
struct Stuck(Arc<(Mutex<bool>, Condvar)>);

impl Stuck {
    fn let_go(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (open, changed) = &*self.0;
        drop(
            changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_log_that_cannot_be_written_loses_lines_and_holds_nobody_up() {
    let stuck = Stuck::default();
    let dropped = Counter::default();
    let log = AccessLog::start(
        Box::new(stuck.clone()),
        "cluster.local".into(),
        dropped.clone(),
    )
    .unwrap();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let entry = Arc::new(Ended {
        time: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        peers: dial(&client, &web),
        reason: Reason::Ok,
        detail: None,
        policy: None,
        bytes_sent: 0,
        bytes_received: 0,
        request: None,
    });
    let config = Arc::new(MeshConfig::default());
    let count = 2 * ACCESS_LOG_QUEUE_MAX;
    for _ in 0..count {
        log.write(Arc::clone(&entry), Arc::clone(&config));
    }
    let lost = dropped.get();
    assert!(lost > 0 && lost <= ACCESS_LOG_QUEUE_MAX as u64, "{lost}");
    assert!(!log.flush(Duration::from_millis(10)));
    stuck.let_go();
}

#[test]
fn an_output_that_fails_does_not_end_the_log() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let settings = TelemetrySettings::default();
    let log = AccessLog::start(
        Box::new(Broken),
        settings.cluster_domain,
        Counter::default(),
    )
    .unwrap();
    assert!(log.flush(Duration::from_secs(5)));
    let (telemetry, _) = telemetry_with(TelemetrySettings::default());
    telemetry.written();
}

/// Which of 1,000 lines are written: of those that failed, and of the others.
fn taken(mode: AccessLogMode) -> (usize, usize) {
    let of = |failed| {
        let lines = 0..1_000;
        lines
            .filter(|random| wants(mode, failed, || random * 1_000))
            .count()
    };
    (of(true), of(false))
}

#[test]
fn each_mode_takes_its_part() {
    let tenth = AccessLogMode::Sampled(Share::of_percent(10.0).unwrap());
    assert_eq!(taken(AccessLogMode::Off), (0, 0));
    assert_eq!(taken(AccessLogMode::Errors), (1_000, 0));
    assert_eq!(taken(tenth), (1_000, 100));
    assert_eq!(taken(AccessLogMode::All), (1_000, 1_000));
}

#[test]
fn a_namespace_has_its_own_mode_and_the_reporter_decides() {
    let (telemetry, sink) = telemetry();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let shop = |mode| {
        let mode = PerNamespace {
            default: AccessLogMode::Off,
            namespaces: [("shop".into(), mode)].into(),
        };
        telemetry.configure(&Arc::new(MeshConfig {
            access_log: Settings {
                mode,
                ..Settings::default()
            },
            ..MeshConfig::default()
        }));
    };
    let worker = telemetry.worker();
    let pass = |known: bool| {
        let mut info = dial(&client, &web);
        info.source = info.source.filter(|_| known);
        worker.open(info).finish(Reason::Ok, None);
        telemetry.written();
        sink.lines().len()
    };
    shop(AccessLogMode::All);
    assert_eq!(pass(true), 1);
    assert_eq!(pass(false), 1, "the destination's namespace is not asked");
    shop(AccessLogMode::Off);
    assert_eq!(pass(true), 1);
}

#[test]
fn a_line_has_the_fields_that_are_chosen() {
    for (format, expected) in [
        (
            AccessLogFormat::Json,
            r#"{"reason":"ok","source_pod":"client-1","bytes_sent":3}"#,
        ),
        (
            AccessLogFormat::Text,
            "reason=ok source_pod=client-1 bytes_sent=3",
        ),
    ] {
        let (telemetry, sink) = telemetry();
        let fields = [
            AccessLogField::BytesSent,
            AccessLogField::SourcePod,
            AccessLogField::Reason,
            AccessLogField::Method,
        ];
        telemetry.configure(&Arc::new(MeshConfig {
            access_log: Settings {
                mode: AccessLogMode::All.into(),
                format,
                fields: fields.into_iter().collect(),
            },
            ..MeshConfig::default()
        }));
        let (client, web) = (
            workload("client", "client-1", &[]),
            workload("web", "web-1", &[]),
        );
        let record = telemetry.worker().open(dial(&client, &web));
        record.sent(3);
        record.finish(Reason::Ok, None);
        telemetry.written();
        assert_eq!(sink.lines(), [expected]);
    }
}
