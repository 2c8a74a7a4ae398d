use std::time::Duration;

use super::*;
use crate::{
    model::{
        mesh::{AccessLogFormat, AccessLogMode},
        names::ObjectName,
        pod::Workload,
        route::{Backend, BackendRef, Filters, ResolvedRule, Route, RouteKind, Rule},
    },
    telemetry::{
        Reporter, Settings,
        exposition::Format,
        testing::{
            END_LABELS, head, logging, only_alive, promtool, request, telemetry, telemetry_with,
            workload,
        },
    },
};

const REQUESTS: &str = "istio_requests_total";
const ROUTE: &str = "weir_route_request_duration_milliseconds_count";

fn ends() -> (Arc<Workload>, Arc<Workload>) {
    let version = [("app", "web"), ("version", "v2")];
    (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &version),
    )
}

/// A rule named `canary` of HTTPRoute shop/web, with these backends.
fn rule(backends: &[BackendRef]) -> Arc<ResolvedRule> {
    let backends = backends.iter().map(|backend| Backend {
        backend: backend.clone(),
        weight: 1,
        filters: Filters::default(),
    });
    let rule = Rule {
        name: Some("canary".into()),
        backends: backends.collect(),
        ..Rule::default()
    };
    let route = Route {
        kind: RouteKind::Http,
        name: ObjectName::new("shop", "web"),
        created: None,
        parents: Vec::new(),
        hostnames: Vec::new(),
        rules: vec![rule],
    };
    Arc::new(ResolvedRule {
        policy: None,
        index: 0,
        refused: vec![None; route.rules[0].backends.len()],
        mirrors_refused: Vec::new(),
        weights: 1,
        route_label: "HTTPRoute/shop/web".into(),
        rule_label: "canary".into(),
        route: Arc::new(route),
    })
}

fn web(port: u16) -> BackendRef {
    BackendRef::Service {
        name: ObjectName::new("shop", "web-v2"),
        port,
    }
}

#[test]
fn a_request_has_all_labels_of_the_standard() {
    let (telemetry, _) = telemetry();
    let (client, web) = ends();
    let mut record = telemetry.worker().request(request(&client, &web));
    record.received(7);
    record.sent(5);
    record.sent(300);
    record.response(StatusCode::CREATED);
    assert_eq!(telemetry.value(REQUESTS, &[]), None, "not before its end");
    record.finish(Reason::Ok, None);
    let text = telemetry.text();
    let line = text
        .lines()
        .find(|line| line.starts_with(REQUESTS))
        .unwrap();
    assert_eq!(
        line,
        format!(
            "{REQUESTS}{{{END_LABELS}{}",
            r#"request_protocol="http",response_code="201",grpc_response_status="",response_flags="-",connection_security_policy="mutual_tls"} 1"#
        )
    );
    let created = [r#"response_code="201""#];
    let value = |metric: &str| telemetry.value(metric, &created);
    assert_eq!(value("istio_request_bytes_sum"), Some(7.0));
    assert_eq!(value("istio_response_bytes_sum"), Some(305.0));
    assert_eq!(
        value("istio_request_duration_milliseconds_count"),
        Some(1.0)
    );
    let bucket = |le: &str| telemetry.value("istio_response_bytes_bucket", &[le]);
    assert_eq!(bucket(r#"le="250.0""#), Some(0.0));
    assert_eq!(bucket(r#"le="500.0""#), Some(1.0));
    assert_eq!(bucket(r#"le="+Inf""#), Some(1.0));
}

#[test]
fn what_ended_how_is_told_apart() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let (client, web) = ends();
    for (status, reason, times) in [
        (Some(StatusCode::OK), Reason::Ok, 3),
        (Some(StatusCode::SERVICE_UNAVAILABLE), Reason::Ok, 2),
        (
            Some(StatusCode::SERVICE_UNAVAILABLE),
            Reason::NoHealthyEndpoint,
            1,
        ),
        (None, Reason::RequestTimeout, 1),
    ] {
        for _ in 0..times {
            let mut record = worker.request(request(&client, &web));
            if let Some(status) = status {
                record.response(status);
            }
            record.finish(reason, None);
        }
    }
    let value = |labels: &[&str]| telemetry.value(REQUESTS, labels);
    assert_eq!(value(&[r#"response_code="200",grpc"#]), Some(3.0));
    assert_eq!(value(&[r#"response_code="503""#]), Some(3.0));
    assert_eq!(
        value(&[r#"response_code="503""#, r#"flags="UH""#]),
        Some(1.0)
    );
    assert_eq!(value(&[r#"response_code="0""#, r#"flags="UT""#]), Some(1.0));
    let failures = |reason: &str| telemetry.value("weir_request_failures_total", &[reason]);
    assert_eq!(failures(r#"reason="no_healthy_endpoint""#), Some(1.0));
    assert_eq!(failures(r#"reason="request_timeout""#), Some(1.0));
    assert_eq!(failures(r#"reason="no_route""#), Some(0.0));
}

#[test]
fn grpc_tells_its_own_status() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let (client, web) = ends();
    for (trailer, label) in [
        (Some("14"), r#"grpc_response_status="14""#),
        (Some("99"), r#"grpc_response_status="2""#),
        (Some("ninety"), r#"grpc_response_status="2""#),
        (None, r#"grpc_response_status="""#),
    ] {
        let mut info = request(&client, &web);
        info.protocol = RequestProtocol::Grpc;
        let mut record = worker.request(info);
        record.response(StatusCode::OK);
        let mut trailers = HeaderMap::new();
        if let Some(status) = trailer {
            trailers.insert("grpc-status", status.parse().unwrap());
        }
        let before = telemetry.value(REQUESTS, &[label]).unwrap_or_default();
        record.grpc_status_from(&trailers);
        record.finish(Reason::Ok, None);
        let labels = [label, r#"request_protocol="grpc""#];
        assert_eq!(
            telemetry.value(REQUESTS, &labels),
            Some(before + 1.0),
            "{trailer:?}"
        );
    }
    let mut record = worker.request(request(&client, &web));
    record.grpc_status_from(&HeaderMap::from_iter([(
        "grpc-status".parse().unwrap(),
        "0".parse().unwrap(),
    )]));
    record.finish(Reason::Ok, None);
    let plain = [r#"request_protocol="http""#, r#"grpc_response_status="""#];
    assert_eq!(telemetry.value(REQUESTS, &plain), Some(1.0));
}

#[test]
fn which_protocol_a_head_speaks() {
    let of = |version, content_type: Option<&str>| {
        let mut request = http::Request::builder().version(version);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        RequestProtocol::of(&request.body(()).unwrap().into_parts().0)
    };
    let (http1, http2) = (http::Version::HTTP_11, http::Version::HTTP_2);
    assert_eq!(of(http1, Some("application/grpc")), RequestProtocol::Http1);
    assert_eq!(of(http2, None), RequestProtocol::Http2);
    assert_eq!(of(http2, Some("application/grpc")), RequestProtocol::Grpc);
    assert_eq!(
        of(http2, Some("application/grpc+proto")),
        RequestProtocol::Grpc
    );
    assert_eq!(
        of(http2, Some("application/grpc;x=y")),
        RequestProtocol::Grpc
    );
    assert_eq!(
        of(http2, Some("application/grpc-web")),
        RequestProtocol::Http2
    );
}

#[test]
fn a_record_that_is_dropped_is_a_client_that_went_away() {
    let (telemetry, _) = telemetry();
    let (client, web) = ends();
    drop(telemetry.worker().request(request(&client, &web)));
    let labels = [r#"response_code="0""#, r#"response_flags="DC""#];
    assert_eq!(telemetry.value(REQUESTS, &labels), Some(1.0));
    let reason = [r#"reason="downstream_reset""#];
    assert_eq!(
        telemetry.value("weir_request_failures_total", &reason),
        Some(1.0)
    );
}

#[test]
fn a_route_tells_its_variants_apart() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let (client, web_pod) = ends();
    let rule = rule(&[web(80), web(81), BackendRef::Invalid("no such kind".into())]);
    let pass = |backend, status: Option<u16>, reporter| {
        let mut info = request(&client, &web_pod);
        info.peers.reporter = reporter;
        info.route = Some(RouteRef {
            rule: Arc::clone(&rule),
            backend,
        });
        let mut record = worker.request(info);
        if let Some(status) = status {
            record.response(StatusCode::from_u16(status).unwrap());
        }
        record.finish(Reason::Ok, None);
    };
    pass(Some(0), Some(200), Reporter::Source);
    pass(Some(0), Some(204), Reporter::Source);
    pass(Some(1), Some(500), Reporter::Source);
    pass(Some(2), Some(500), Reporter::Source);
    pass(None, Some(302), Reporter::Source);
    pass(Some(0), None, Reporter::Source);
    pass(Some(0), Some(200), Reporter::Destination);
    let value = |labels: &[&str]| telemetry.value(ROUTE, labels);
    let own = r#"{route="HTTPRoute/shop/web",rule="canary",backend="shop/web-v2:80",response_code="2xx"}"#;
    assert_eq!(value(&[own]), Some(2.0), "only the source chooses");
    assert_eq!(
        value(&[r#"backend="shop/web-v2:81""#, r#"code="5xx""#]),
        Some(1.0)
    );
    assert_eq!(value(&[r#"backend="invalid""#]), Some(1.0));
    assert_eq!(value(&[r#"backend="none""#, r#"code="3xx""#]), Some(1.0));
    assert_eq!(value(&[r#"code="0""#]), Some(1.0));
    assert_eq!(worker.0.http.borrow().routes_len(), 5);

    telemetry.retain_routes(|route| route == "HTTPRoute/shop/web");
    assert_eq!(value(&[]), Some(6.0));
    telemetry.retain_routes(|_| false);
    assert_eq!(value(&[]), None);
    pass(Some(0), Some(200), Reporter::Source);
    assert_eq!(
        value(&[]),
        Some(1.0),
        "a cache does not bring back the old one"
    );
}

#[test]
fn series_go_with_their_pods() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let (client, web) = ends();
    let pass = || {
        let mut record = worker.request(request(&client, &web));
        record.response(StatusCode::OK);
        record.finish(Reason::Ok, None);
    };
    pass();
    only_alive(&telemetry, &[&client, &web]);
    assert_eq!(telemetry.value(REQUESTS, &[]), Some(1.0));
    only_alive(&telemetry, &[&client]);
    assert_eq!(telemetry.value(REQUESTS, &[]), None);
    assert_eq!(telemetry.value("istio_response_bytes_count", &[]), None);
    pass();
    assert_eq!(telemetry.value(REQUESTS, &[]), Some(1.0), "not the old one");
}

#[test]
fn too_many_label_sets_are_counted_together() {
    let settings = Settings {
        request_label_sets_max: 2,
        ..Settings::default()
    };
    let (telemetry, _) = telemetry_with(settings);
    let worker = telemetry.worker();
    let (client, web) = ends();
    for code in 200..210 {
        let mut record = worker.request(request(&client, &web));
        record.response(StatusCode::from_u16(code).unwrap());
        record.finish(Reason::Ok, None);
    }
    assert_eq!(
        telemetry.value(REQUESTS, &[]),
        Some(10.0),
        "nothing is lost"
    );
    let rest = [r#"response_code="unknown""#, r#"source_workload="unknown""#];
    assert_eq!(telemetry.value(REQUESTS, &rest), Some(8.0));
    let overflow = "weir_metrics_series_overflow_total";
    assert_eq!(telemetry.value(overflow, &[]), Some(8.0));
}

/// The path of a request: nothing is built that was built before.
#[test]
fn the_same_kind_of_request_is_one_entry_of_the_cache() {
    let (telemetry, _) = telemetry();
    let worker = telemetry.worker();
    let (client, web) = ends();
    let info = request(&client, &web);
    for _ in 0..100 {
        let mut record = worker.request(info.clone());
        record.response(StatusCode::OK);
        record.finish(Reason::Ok, None);
    }
    assert_eq!(worker.0.http.borrow().requests_len(), 1);
    worker.request(info.clone()).finish(Reason::Ok, None);
    assert_eq!(worker.0.http.borrow().requests_len(), 2);
}

#[test]
fn a_scraper_can_read_it() {
    let (telemetry, _) = telemetry();
    let (client, web_pod) = ends();
    let mut info = request(&client, &web_pod);
    info.route = Some(RouteRef {
        rule: rule(&[web(80)]),
        backend: Some(0),
    });
    telemetry.worker().request(info).finish(Reason::Ok, None);
    let text = telemetry.text();
    let kind = "# TYPE istio_request_duration_milliseconds histogram";
    assert_eq!(text.lines().filter(|line| *line == kind).count(), 1);
    assert!(text.contains("# TYPE istio_requests_total counter"));
    let open_metrics = telemetry.expose(Format::OpenMetrics);
    assert!(open_metrics.contains("# TYPE istio_requests counter"));
    if let Some(said) = promtool(&text) {
        // Istio's name, in a unit that is not the base unit, is what dashboards read.
        let said: Vec<_> = said
            .lines()
            .filter(|line| !line.contains("milliseconds"))
            .collect();
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn details_are_bounded_and_leave_secrets_out() {
    let path = format!("/{}", "a".repeat(2 * DETAIL_BYTES_MAX));
    let head = http::Request::get(format!("{path}?token=secret"))
        .header("host", "web.shop")
        .header("user-agent", "curl/8")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let details = RequestDetails::of(&head);
    assert_eq!(&*details.path, &path[..DETAIL_BYTES_MAX]);
    assert_eq!(details.authority.as_deref(), Some("web.shop"));
    assert_eq!(details.user_agent.as_deref(), Some("curl/8"));
    let (telemetry, _) = telemetry();
    assert_eq!(telemetry.worker().details(&head), None, "nobody asks");
    assert!(telemetry.flush(Duration::from_secs(5)));
}

#[test]
fn the_access_log_tells_of_requests() {
    let (telemetry, sink) = telemetry();
    logging(&telemetry, AccessLogMode::Errors, AccessLogFormat::Json);
    let worker = telemetry.worker();
    let (client, web_pod) = ends();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let head = head(&[
        ("user-agent", "curl/8"),
        ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")),
    ]);
    let pass = |status: u16, grpc: Option<u16>, reason| {
        let mut info = request(&client, &web_pod);
        info.details = worker.details(&head);
        info.route = Some(RouteRef {
            rule: rule(&[web(80)]),
            backend: Some(0),
        });
        let mut record = worker.request(info);
        record.sent(11);
        record.response(StatusCode::from_u16(status).unwrap());
        if let Some(code) = grpc {
            record.grpc_status(code);
        }
        record.finish(reason, Some("a detail".into()));
    };
    pass(200, None, Reason::Ok);
    pass(404, None, Reason::Ok);
    pass(200, Some(5), Reason::Ok);
    pass(503, None, Reason::Ok);
    pass(200, Some(14), Reason::Ok);
    pass(200, None, Reason::UpstreamReset);
    telemetry.written();
    let lines = sink.lines();
    assert_eq!(lines.len(), 3, "what somebody should look at: {lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    for (field, value) in [
        ("method", "GET"),
        ("path", "/cart"),
        ("authority", "web.shop"),
        ("protocol", "HTTP/1.1"),
        ("request_protocol", "http"),
        ("user_agent", "curl/8"),
        ("route", "HTTPRoute/shop/web"),
        ("rule", "canary"),
        ("backend", "shop/web-v2:80"),
        ("trace_id", trace),
        ("source_pod", "client-1"),
        ("detail", "a detail"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(line["response_code"], 503);
    assert_eq!(line["bytes_sent"], 11);
    assert!(!lines[0].contains("secret"), "{}", lines[0]);
}

#[test]
fn a_text_line_shows_the_request_and_cannot_be_forged() {
    let (telemetry, sink) = telemetry();
    logging(&telemetry, AccessLogMode::All, AccessLogFormat::Text);
    let worker = telemetry.worker();
    let (client, web) = ends();
    let mut info = request(&client, &web);
    info.details = Some(Box::new(RequestDetails {
        path: "/a\nfake line".into(),
        authority: Some("web".into()),
        ..RequestDetails::default()
    }));
    let mut record = worker.request(info);
    record.response(StatusCode::OK);
    record.finish(Reason::Ok, None);
    telemetry.written();
    let lines = sink.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = r#"-> shop/web-1 (10.0.0.2:8080) GET web"/a\nfake line" HTTP/1.1 200 service="#;
    assert!(lines[0].contains(expected), "{}", lines[0]);
}
