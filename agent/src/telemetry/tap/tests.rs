use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::Value;

use super::*;
use crate::{
    model::{names::ObjectName, pod::Workload},
    telemetry::{
        Reason, Telemetry, WorkerTelemetry,
        testing::{dial, head, request, telemetry, workload},
    },
};

fn ends() -> (Arc<Workload>, Arc<Workload>) {
    (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    )
}

fn pass(worker: &WorkerTelemetry, status: u16) {
    let (client, web) = ends();
    let head = head(&[("authorization", "Bearer abc"), ("accept", "*/*")]);
    let mut info = request(&client, &web);
    info.details = worker.details(&head);
    let mut record = worker.request(info);
    record.capture_headers(&head.headers);
    record.response(StatusCode::from_u16(status).unwrap());
    record.finish(Reason::Ok, None);
}

/// What is there now, as JSON.
async fn events(stream: &mut TapStream) -> Vec<Value> {
    let mut events = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(20), stream.next()).await {
        events.push(serde_json::to_value(&event).unwrap());
    }
    events
}

fn tap(telemetry: &Telemetry, filter: TapFilter) -> TapStream {
    telemetry.tap(filter).unwrap()
}

#[tokio::test]
async fn a_watcher_sees_requests_while_it_watches() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    pass(&worker, 200);
    assert!(!telemetry.0.wants_anything(), "nobody watches");
    let mut stream = tap(&telemetry, TapFilter::default());
    pass(&worker, 201);
    let (client, web) = ends();
    worker.open(dial(&client, &web)).finish(Reason::Ok, None);
    let seen = events(&mut stream).await;
    assert_eq!(seen.len(), 1, "no connections: {seen:?}");
    assert_eq!(seen[0]["response_code"], 201);
    assert_eq!(seen[0]["path"], "/cart");
    assert_eq!(seen[0]["source_pod"], "client-1");
    let headers = seen[0]["request_headers"].to_string();
    assert!(
        headers.contains(r#"["authorization","[redacted]"]"#),
        "{headers}"
    );
    assert!(headers.contains(r#"["accept","*/*"]"#), "{headers}");
    assert!(!seen[0].to_string().contains("abc") && !seen[0].to_string().contains("secret"));

    let other = tap(&telemetry, TapFilter::default());
    drop(stream);
    assert!(telemetry.0.wants(Wanted::Taps), "another one watches");
    drop(other);
    assert!(!telemetry.0.wants_anything());
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_what_it_lost() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let mut stream = tap(&telemetry, TapFilter::default());
    for _ in 0..TAP_QUEUE_MAX + 5 {
        pass(&worker, 200);
    }
    assert_eq!(stream.next().await.lost(), Some(5));
    assert_eq!(events(&mut stream).await.len(), TAP_QUEUE_MAX);
    pass(&worker, 200);
    assert_eq!(stream.next().await.lost(), None);
}

#[test]
fn there_are_only_so_many_watchers() {
    let (telemetry, _) = telemetry();
    let mut streams: Vec<_> = (0..TAPS_MAX)
        .map(|_| tap(&telemetry, TapFilter::default()))
        .collect();
    assert_eq!(
        telemetry.tap(TapFilter::default()).unwrap_err(),
        TooManyTaps
    );
    streams.pop();
    streams.push(tap(&telemetry, TapFilter::default()));
    assert!(telemetry.tap(TapFilter::default()).is_err());
}

#[tokio::test]
async fn a_filter_lets_through_what_it_says() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let of = |filter: TapFilter| (filter.clone(), tap(&telemetry, filter));
    let everything = TapFilter::default();
    let wanted = [
        TapFilter {
            namespace: Some("shop".into()),
            ..everything.clone()
        },
        TapFilter {
            pod: Some("web-1".into()),
            namespace: Some("shop".into()),
            ..everything.clone()
        },
        TapFilter {
            service: Some(ObjectName::new("shop", "web")),
            ..everything.clone()
        },
        TapFilter {
            path_prefix: Some("/ca".into()),
            status: "2xx".parse().ok(),
            ..everything.clone()
        },
    ];
    let unwanted = [
        TapFilter {
            namespace: Some("bank".into()),
            ..everything.clone()
        },
        TapFilter {
            pod: Some("web-2".into()),
            ..everything.clone()
        },
        TapFilter {
            service: Some(ObjectName::new("bank", "web")),
            ..everything.clone()
        },
        TapFilter {
            path_prefix: Some("/cart/".into()),
            ..everything.clone()
        },
        TapFilter {
            method: Some(Method::POST),
            ..everything.clone()
        },
        TapFilter {
            status: "201".parse().ok(),
            ..everything.clone()
        },
        TapFilter {
            status: "5xx".parse().ok(),
            ..everything.clone()
        },
        TapFilter {
            reason: Some(Reason::NoRoute),
            ..everything
        },
    ];
    for (filters, expected) in [(&wanted[..], 1), (&unwanted[..], 0)] {
        let mut taps: Vec<_> = filters.iter().cloned().map(of).collect();
        pass(&worker, 200);
        for (filter, stream) in &mut taps {
            assert_eq!(events(stream).await.len(), expected, "{filter:?}");
        }
    }
}

#[test]
fn statuses_are_read() {
    for wrong in ["", "20", "2000", "xx", "6xx", "2x", "abc"] {
        assert!(wrong.parse::<StatusFilter>().is_err(), "{wrong}");
    }
    assert_eq!("4xx".parse(), Ok(StatusFilter::Class(4)));
    assert_eq!(
        "404".parse(),
        Ok(StatusFilter::Exact(StatusCode::NOT_FOUND))
    );
}

#[test]
fn what_is_secret_is_not_shown() {
    let mut headers = HeaderMap::new();
    for name in [
        "Cookie",
        "Set-Cookie",
        "Proxy-Authorization",
        "X-Api-Key",
        "X-Auth-Token",
        "my-secret",
        "password",
    ] {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            "hidden".parse().unwrap(),
        );
    }
    for index in 0..2 * HEADERS_MAX {
        let name = HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
        headers.insert(name, "v".repeat(2 * HEADER_BYTES_MAX).parse().unwrap());
    }
    let shown = redacted(&headers);
    assert_eq!(shown.len(), HEADERS_MAX);
    assert_eq!(
        shown.iter().filter(|(_, value)| value == REDACTED).count(),
        7
    );
    assert!(
        shown
            .iter()
            .all(|(_, value)| value != "hidden" && value.len() <= HEADER_BYTES_MAX)
    );
}
