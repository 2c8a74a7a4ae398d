//! What a span says of a request: OpenTelemetry's semantic conventions for HTTP, RPC and
//! Kubernetes, and what only Weir knows as `weir.*`.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Method;

use super::{
    context::TraceContext,
    otlp::{
        ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans,
        ScopeSpans, Span, SpanKind, Status, StatusCode, Value,
    },
};
use crate::{
    model::pod::Workload,
    telemetry::{
        Reporter, RequestProtocol,
        ended::{self, Ended, EndedRequest},
        labels::{canonical_service, service_host},
    },
};

/// One message for a batch, its spans grouped by the pod that they are told for.
pub(super) fn export_request(
    batch: &[Arc<Ended>],
    cluster_domain: &str,
) -> ExportTraceServiceRequest {
    let mut pods: BTreeMap<_, (Option<&Workload>, Vec<Span>)> = BTreeMap::new();
    for ended in batch {
        let own = ended.peers.own();
        let spans = pods.entry(own.map(|own| &own.pod.name)).or_default();
        spans.0 = own;
        spans.1.extend(span(ended, cluster_domain));
    }
    let resource_spans = pods.into_values().map(|(own, spans)| ResourceSpans {
        resource: Some(resource(own)),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "weir".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            spans,
        }],
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

/// The pod, as it would name itself: Weir tells for it.
fn resource(own: Option<&Workload>) -> Resource {
    let mut attributes = Attributes::default();
    match own {
        Some(own) => {
            let pod = &own.pod;
            attributes.text("service.name", canonical_service(own));
            attributes.text("service.namespace", &pod.name.namespace);
            attributes.text("k8s.namespace.name", &pod.name.namespace);
            attributes.text("k8s.pod.name", &pod.name.name);
            attributes.text("k8s.pod.uid", &pod.uid);
            attributes.text("k8s.node.name", &pod.node);
            if let Some(version) = pod.labels.get("version") {
                attributes.text("service.version", version);
            }
        }
        None => attributes.text("service.name", "unknown_service:weir"),
    }
    Resource {
        attributes: attributes.0,
    }
}

/// `None`: no request, or one without a trace.
fn span(ended: &Ended, cluster_domain: &str) -> Option<Span> {
    let request = ended.request.as_ref()?;
    let trace: &TraceContext = request.trace.as_ref()?;
    let kind = match ended.peers.reporter {
        Reporter::Source => SpanKind::Client,
        Reporter::Destination => SpanKind::Server,
    };
    let parent = trace.parent.map(|parent| parent.to_bytes().to_vec());
    Some(Span {
        trace_id: trace.trace_id.to_bytes().to_vec(),
        span_id: trace.span_id.to_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        name: name(request),
        kind: kind.into(),
        start_time_unix_nano: nanos(ended.time),
        end_time_unix_nano: nanos(ended.time + ended.duration),
        attributes: attributes(ended, request, cluster_domain),
        status: status(ended, request, kind),
    })
}

/// gRPC's `package.Service/Method`; of HTTP the method alone, since a path has no bounds.
fn name(request: &EndedRequest) -> String {
    let grpc = request.protocol == RequestProtocol::Grpc;
    match request.path().filter(|_| grpc) {
        Some(path) => path.trim_start_matches('/').to_owned(),
        None => known_method(&request.method).unwrap_or("HTTP").to_owned(),
    }
}

fn attributes(ended: &Ended, request: &EndedRequest, cluster_domain: &str) -> Vec<KeyValue> {
    let peers = &ended.peers;
    let mut all = Attributes::default();
    match known_method(&request.method) {
        Some(method) => all.text("http.request.method", method),
        None => {
            all.text("http.request.method", "_OTHER");
            all.text("http.request.method_original", request.method.as_str());
        }
    }
    all.text("url.scheme", "http");
    if let Some(status) = request.status {
        all.number("http.response.status_code", status.as_u16().into());
    }
    all.number("http.request.body.size", ended.bytes_received);
    all.number("http.response.body.size", ended.bytes_sent);
    let version = match request.protocol {
        RequestProtocol::Http1 => "1.1",
        RequestProtocol::Http2 | RequestProtocol::Grpc => "2",
    };
    all.text("network.protocol.name", "http");
    all.text("network.protocol.version", version);
    if let Some(details) = &request.details {
        all.text("url.path", &details.path);
        if let Some(user_agent) = &details.user_agent {
            all.text("user_agent.original", user_agent);
        }
        if let Some(authority) = &details.authority {
            all.text("weir.authority", authority);
        }
    }
    match &peers.service {
        Some(state) => all.text(
            "server.address",
            &service_host(&state.service.name, cluster_domain),
        ),
        None => all.text(
            "server.address",
            &peers.original_destination.ip().to_string(),
        ),
    }
    all.number("server.port", peers.original_destination.port().into());
    let peer = match peers.reporter {
        Reporter::Source => peers.destination_address,
        Reporter::Destination => {
            all.text("client.address", &peers.source_address.ip().to_string());
            peers.source_address
        }
    };
    all.text("network.peer.address", &peer.ip().to_string());
    all.number("network.peer.port", peer.port().into());
    if request.protocol == RequestProtocol::Grpc {
        grpc_attributes(request, &mut all);
    }
    weir_attributes(ended, request, &mut all);
    all.0
}

fn grpc_attributes(request: &EndedRequest, all: &mut Attributes) {
    all.text("rpc.system", "grpc");
    let method = request.path().and_then(|path| path.rsplit_once('/'));
    if let Some((service, method)) = method {
        all.text("rpc.service", service.trim_start_matches('/'));
        all.text("rpc.method", method);
    }
    if let Some(status) = request.grpc_status {
        all.number("rpc.grpc.status_code", status.into());
    }
}

fn weir_attributes(ended: &Ended, request: &EndedRequest, all: &mut Attributes) {
    if let Some(route) = &request.route {
        all.text("weir.route", &route.rule.route_label);
        all.text("weir.rule", &route.rule.rule_label);
        if let Some(backend) = route.backend() {
            all.text("weir.backend", &backend);
        }
    }
    if let Some(policy) = &ended.policy {
        all.text("weir.policy", policy);
    }
    if ended.reason.is_ok() {
        if let Some(status) = request.status.filter(|status| status.as_u16() >= 500) {
            all.text("error.type", status.as_str());
        }
    } else {
        all.text("error.type", ended.reason.as_str());
        all.text("weir.reason", ended.reason.as_str());
    }
}

/// A client's span fails with any 4xx, a server's only with what is its own fault (semantic
/// conventions for HTTP spans, "Status").
fn status(ended: &Ended, request: &EndedRequest, kind: SpanKind) -> Option<Status> {
    let refused = request.status.is_some_and(|status| status.as_u16() >= 400)
        || request.grpc_status.is_some_and(|status| status != 0);
    let failed = ended::failed(ended.reason, request.status, request.grpc_status);
    (failed || kind == SpanKind::Client && refused).then(|| Status {
        message: ended.detail.as_deref().unwrap_or_default().to_owned(),
        code: StatusCode::Error.into(),
    })
}

/// The methods that the conventions count as known: others would make an attribute without bounds.
fn known_method(method: &Method) -> Option<&str> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    known.contains(method).then(|| method.as_str())
}

fn nanos(time: SystemTime) -> u64 {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.0
            .push(KeyValue::new(key, Value::Text(value.to_owned())));
    }

    fn number(&mut self, key: &str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.push(KeyValue::new(key, Value::Number(value)));
    }
}
