//! Spans against a server that reads the official messages.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;

use super::*;
use crate::{
    model::mesh::{Collector, MeshConfig, OtlpProtocol, Share, Tracing},
    telemetry::{
        Reason, Reporter, RequestProtocol, Telemetry,
        testing::{head, request, telemetry, workload},
    },
};

/// A collector in this process. Refuses the first `failures` messages with 503.
struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Server {
    fn start(protocol: OtlpProtocol, failures: usize) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::default();
        let (kept, left) = (Arc::clone(&received), Arc::new(AtomicUsize::new(failures)));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(listener, protocol, kept, left));
        });
        Self { address, received }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|message| &message.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

async fn serve(
    listener: std::net::TcpListener,
    protocol: OtlpProtocol,
    received: Received,
    failures: Arc<AtomicUsize>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (received, failures) = (Arc::clone(&received), Arc::clone(&failures));
        let service = service_fn(move |request| {
            let (received, failures) = (Arc::clone(&received), Arc::clone(&failures));
            async move { Ok::<_, Infallible>(take(request, protocol, &received, &failures).await) }
        });
        let io = TokioIo::new(stream);
        tokio::spawn(async move {
            let _ = match protocol {
                OtlpProtocol::Http => {
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await
                }
                OtlpProtocol::Grpc => {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await
                }
            };
        });
    }
}

type Answer = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn take(
    request: Request<Incoming>,
    protocol: OtlpProtocol,
    received: &Received,
    failures: &AtomicUsize,
) -> Response<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let fail = failures
        .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
        .is_ok();
    let content_type = head.headers["content-type"].to_str().unwrap().to_owned();
    let message = match protocol {
        OtlpProtocol::Http => {
            assert_eq!(
                (head.uri.path(), &*content_type),
                ("/v1/traces", "application/x-protobuf")
            );
            body
        }
        OtlpProtocol::Grpc => {
            assert_eq!(content_type, "application/grpc");
            let service = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
            assert_eq!(head.uri.path(), service);
            assert_eq!(body[0], 0);
            assert_eq!(
                u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize,
                body.len() - 5
            );
            body.slice(5..)
        }
    };
    if !fail {
        let message = ExportTraceServiceRequest::decode(message).unwrap();
        received.lock().unwrap().push(message);
    }
    match protocol {
        OtlpProtocol::Http => {
            let status = if fail {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            let body = Full::new(Bytes::new()).boxed();
            Response::builder().status(status).body(body).unwrap()
        }
        OtlpProtocol::Grpc => {
            let mut trailers = HeaderMap::new();
            trailers.insert(
                "grpc-status",
                if fail { "14" } else { "0" }.parse().unwrap(),
            );
            let body = Full::new(Bytes::from_static(&[0; 5]));
            Response::new(BodyExt::boxed(
                body.with_trailers(async { Some(Ok(trailers)) }),
            ))
        }
    }
}

/// Traces this share of the requests, and sends to `server`.
fn traced(server: &Server, protocol: OtlpProtocol, percent: f64) -> Telemetry {
    let (telemetry, _) = telemetry();
    telemetry.configure(&Arc::new(MeshConfig {
        tracing: Some(Tracing {
            collector: Collector {
                protocol,
                host: "127.0.0.1".into(),
                port: server.address.port(),
                path: protocol.default_path().into(),
            },
            sampling: Share::of_percent(percent).unwrap().into(),
        }),
        ..MeshConfig::default()
    }));
    telemetry
}

fn parent(headers: &HeaderMap) -> String {
    let value = headers
        .get("traceparent")
        .map(|value| value.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

/// One request through both agents; the headers that the app at the end sees.
fn pass(telemetry: &Telemetry, protocol: RequestProtocol, headers: HeaderMap) -> HeaderMap {
    let worker = telemetry.worker();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[("app", "shopfront")]),
    );
    let mut head = head(&[]);
    head.headers.extend(headers);
    let mut records = Vec::new();
    for reporter in [Reporter::Source, Reporter::Destination] {
        let mut info = request(&client, &web);
        info.peers.reporter = reporter;
        info.protocol = protocol;
        info.details = worker.details(&head);
        let trace = worker.trace(&info.peers, &mut head.headers);
        let mut record = worker.request(info);
        record.set_trace(trace);
        records.push(record);
    }
    for mut record in records.into_iter().rev() {
        record.sent(12);
        record.response(StatusCode::NOT_FOUND);
        record.finish(Reason::Ok, None);
    }
    head.headers
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key);
    match found
        .and_then(|found| found.value.clone())
        .and_then(|value| value.value)
    {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    }
}

fn flushed(telemetry: &Telemetry) {
    assert!(telemetry.flush(Duration::from_secs(10)));
}

#[test]
fn a_collector_gets_both_sides_of_a_request() {
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let server = Server::start(protocol, 0);
        let telemetry = traced(&server, protocol, 100.0);
        let seen = pass(&telemetry, RequestProtocol::Http1, HeaderMap::new());
        flushed(&telemetry);
        let spans = server.spans();
        assert_eq!(spans.len(), 2, "{protocol:?}");
        let of = |kind: SpanKind| spans.iter().find(|span| span.kind == kind as i32).unwrap();
        let (client, server_side) = (of(SpanKind::Client), of(SpanKind::Server));
        assert_eq!(client.trace_id, server_side.trace_id);
        assert_eq!(client.parent_span_id, [0; 0], "begun here");
        assert_eq!(server_side.parent_span_id, client.span_id);
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let onwards = format!(
            "00-{}-{}-01",
            hex(&client.trace_id),
            hex(&server_side.span_id)
        );
        assert_eq!(parent(&seen), onwards);
        assert!(client.end_time_unix_nano >= client.start_time_unix_nano);
        assert!(client.start_time_unix_nano > 1_700_000_000_000_000_000);
        for (key, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/cart"),
            ("http.response.status_code", "404"),
            ("http.response.body.size", "12"),
            ("server.address", "web.shop.svc.cluster.local"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "8080"),
            ("network.protocol.version", "1.1"),
        ] {
            assert_eq!(attribute(client, key), value, "{key}");
        }
        assert_eq!(attribute(server_side, "network.peer.address"), "10.0.0.1");
        assert_eq!(attribute(server_side, "client.address"), "10.0.0.1");
        let status = |span: &Span| span.status.as_ref().map(|status| status.code);
        assert_eq!(
            status(client),
            Some(SpanStatus::Error as i32),
            "404 is the client's failure"
        );
        assert_eq!(status(server_side), None);
        let received = server.received.lock().unwrap();
        let names: Vec<_> = received[0]
            .resource_spans
            .iter()
            .map(|resource| {
                resource.resource.as_ref().unwrap().attributes[0]
                    .value
                    .clone()
            })
            .map(|value| value.unwrap().value.unwrap())
            .collect();
        let expected = ["client", "shopfront"].map(|name| Value::StringValue(name.into()));
        assert_eq!(names, expected, "each pod tells as itself");
        let sent = telemetry.value("weir_trace_spans_sent_total", &[]);
        assert_eq!(sent, Some(2.0));
    }
}

#[test]
fn a_call_of_grpc_is_told_as_such() {
    let server = Server::start(OtlpProtocol::Http, 0);
    let telemetry = traced(&server, OtlpProtocol::Http, 100.0);
    let worker = telemetry.worker();
    let (client, web) = (
        workload("client", "client-1", &[]),
        workload("web", "web-1", &[]),
    );
    let mut head = head(&[]);
    head.uri = "/shop.v1.Cart/Add".parse().unwrap();
    let mut info = request(&client, &web);
    info.protocol = RequestProtocol::Grpc;
    info.details = worker.details(&head);
    let trace = worker.trace(&info.peers, &mut head.headers);
    let mut record = worker.request(info);
    record.set_trace(trace);
    record.grpc_status(14);
    record.finish(Reason::NoHealthyEndpoint, Some("shop/web".into()));
    flushed(&telemetry);
    let span = &server.spans()[0];
    assert_eq!(span.name, "shop.v1.Cart/Add");
    for (key, value) in [
        ("rpc.system", "grpc"),
        ("rpc.service", "shop.v1.Cart"),
        ("rpc.method", "Add"),
        ("rpc.grpc.status_code", "14"),
        ("weir.reason", "no_healthy_endpoint"),
    ] {
        assert_eq!(attribute(span, key), value, "{key}");
    }
    let status = span.status.as_ref().unwrap();
    assert_eq!(
        (status.code, &*status.message),
        (SpanStatus::Error as i32, "shop/web")
    );
}

#[test]
fn a_callers_word_counts_before_the_sampling() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    let with = |name: &'static str, value: String| {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    };
    let server = Server::start(OtlpProtocol::Http, 0);
    let telemetry = traced(&server, OtlpProtocol::Http, 0.0);
    let sampled = with("traceparent", format!("00-{TRACE}-01"));
    assert_ne!(
        pass(&telemetry, RequestProtocol::Http1, sampled.clone()),
        sampled
    );
    flushed(&telemetry);
    assert_eq!(server.spans().len(), 2);
    let begun = pass(&telemetry, RequestProtocol::Http1, HeaderMap::new());
    assert!(
        parent(&begun).ends_with("-00"),
        "decided for who comes next"
    );

    let telemetry = traced(&server, OtlpProtocol::Http, 100.0);
    for refused in [
        with("traceparent", format!("00-{TRACE}-00")),
        with("b3", "0".into()),
        with("x-b3-sampled", "0".into()),
    ] {
        let seen = pass(&telemetry, RequestProtocol::Http1, refused.clone());
        for (name, value) in &refused {
            assert_eq!(seen.get(name), Some(value));
        }
        assert_eq!(
            seen.contains_key("traceparent"),
            refused.contains_key("traceparent")
        );
    }
    flushed(&telemetry);
    assert_eq!(server.spans().len(), 2, "none of these");
}

#[test]
fn without_a_collector_headers_pass_as_they_are() {
    let (telemetry, _) = telemetry();
    let headers = head(&[("traceparent", "anything"), ("b3", "1")]).headers;
    let seen = pass(&telemetry, RequestProtocol::Http1, headers.clone());
    assert_eq!(seen.get("traceparent"), headers.get("traceparent"));
    assert_eq!(seen.get("b3"), headers.get("b3"));
}

#[test]
fn a_batch_is_tried_again_and_then_lost() {
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let server = Server::start(protocol, 2);
        let telemetry = traced(&server, protocol, 100.0);
        pass(&telemetry, RequestProtocol::Http1, HeaderMap::new());
        flushed(&telemetry);
        assert_eq!(server.spans().len(), 2, "the third try");

        let server = Server::start(protocol, 3);
        let telemetry = traced(&server, protocol, 100.0);
        pass(&telemetry, RequestProtocol::Http1, HeaderMap::new());
        flushed(&telemetry);
        assert_eq!(server.spans().len(), 0);
        let value = |name| telemetry.value(name, &[]);
        assert_eq!(value("weir_trace_spans_dropped_total"), Some(2.0));
        assert_eq!(value("weir_trace_spans_sent_total"), Some(0.0));
        pass(&telemetry, RequestProtocol::Http1, HeaderMap::new());
        flushed(&telemetry);
        assert_eq!(server.spans().len(), 2, "and the next one goes");
    }
}

#[test]
fn a_collector_that_is_gone_holds_nobody_up() {
    let server = Server::start(OtlpProtocol::Http, 0);
    let telemetry = traced(&server, OtlpProtocol::Http, 100.0);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = Server {
        address: closed.local_addr().unwrap(),
        received: Arc::default(),
    };
    drop(closed);
    let other = traced(&gone, OtlpProtocol::Grpc, 100.0);
    let spans = 2 * export::SPANS_QUEUE_MAX;
    for _ in 0..spans / 2 {
        pass(&other, RequestProtocol::Http1, HeaderMap::new());
    }
    let dropped = other.value("weir_trace_spans_dropped_total", &[]).unwrap();
    assert!(dropped >= 1.0, "a full queue: {dropped}");
    pass(&telemetry, RequestProtocol::Http1, HeaderMap::new());
    flushed(&telemetry);
    assert_eq!(server.spans().len(), 2);
}
