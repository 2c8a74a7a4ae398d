//! Health checks that are requests.

use std::{net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderValue, Method, StatusCode, Uri, Version as HttpVersion,
    header::{CONTENT_TYPE, HOST, TE, USER_AGENT},
    request::Parts,
};
use hyper::body::Body as _;
use prost::Message;

use super::{
    body::{Body, Keep},
    mirror,
    outbound::Outbound,
    outgoing::empty_head,
    pipeline::{Exchange, Target},
    send::{self, Sent},
};
use crate::{
    model::service::{Endpoint, EndpointSet, ServiceState},
    proxy::{pods::LocalPod, worker::Worker},
};

/// Of a gRPC health check's answer.
const ANSWER_BYTES_MAX: usize = 1024;

/// `GET path`: 2xx is success.
pub(in crate::proxy) async fn http(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    service: &Arc<ServiceState>,
    endpoint: Endpoint,
    path: &str,
) -> bool {
    let head = head(worker, service, Method::GET, path);
    let Some(head) = head else { return false };
    let Some(sent) = send(worker, pod, service, endpoint, (head, Body::Empty)).await else {
        return false;
    };
    let ok = sent.response.status().is_success();
    mirror::discard(sent.response.into_body()).await;
    if let Keep::Lease(lease) = sent.keep {
        lease.give_back();
    }
    ok
}

/// `grpc.health.v1.Health/Check`: SERVING is success.
pub(in crate::proxy) async fn grpc(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    service: &Arc<ServiceState>,
    endpoint: Endpoint,
    name: &str,
) -> bool {
    let path = "/grpc.health.v1.Health/Check";
    let Some(mut head) = head(worker, service, Method::POST, path) else {
        return false;
    };
    head.version = HttpVersion::HTTP_2;
    let headers = &mut head.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let body = Body::Full(message(&HealthCheckRequest {
        service: name.to_owned(),
    }));
    let Some(sent) = send(worker, pod, service, endpoint, (head, body)).await else {
        return false;
    };
    let in_head = sent.grpc_status();
    let mut ok = sent.response.status() == StatusCode::OK && in_head.is_none_or(|s| s == 0);
    let mut answer = BytesMut::new();
    let mut body = sent.response.into_body();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return false };
        if let Some(trailers) = frame.trailers_ref() {
            ok &= send::grpc_status(trailers) == Some(0);
        } else if let Some(data) = frame.data_ref() {
            answer.extend_from_slice(data);
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return false;
        }
    }
    ok && is_serving(&answer)
}

fn head(worker: &Worker, service: &ServiceState, method: Method, path: &str) -> Option<Parts> {
    let mut head = empty_head();
    head.method = method;
    head.uri = path.parse::<Uri>().ok()?;
    let host = HeaderValue::try_from(&*worker.host_name(service)).ok()?;
    head.headers.insert(HOST, host);
    head.headers
        .insert(USER_AGENT, HeaderValue::from_static("weir-health-check"));
    Some(head)
}

/// To that endpoint and no other, past breaker and pool limits.
async fn send(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    service: &Arc<ServiceState>,
    endpoint: Endpoint,
    (head, body): (Parts, Body),
) -> Option<Sent> {
    let to = SocketAddr::new(endpoint.address, endpoint.port);
    let own = pod
        .workload()
        .pod
        .ips
        .iter()
        .copied()
        .find(|ip| ip.is_ipv6() == to.is_ipv6());
    let client = SocketAddr::new(own?, 0);
    let cx = Outbound::new(Rc::clone(worker), Rc::clone(pod), client, to, None);
    let mut exchange = Exchange::mirrored(Rc::new(cx), head, body);
    let protocol = service.protocol_at(endpoint.port);
    let target = Target {
        service: Some(Arc::clone(service)),
        endpoints: Arc::new(EndpointSet::of_address(to)),
        http2: protocol.wants_http2(),
        view: None,
        only: None,
        pinned: None,
        backend: None,
    };
    let sent = send::to(&mut exchange, &target, endpoint).await;
    exchange.record.dismiss();
    sent.ok()
}

/// gRPC over HTTP/2: a message that is not compressed, behind its length.
fn message(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Infallible: the buffer grows.
    let _ = message.encode(&mut out);
    out.freeze()
}

fn is_serving(answer: &[u8]) -> bool {
    const SERVING: i32 = 1;
    let Some((&[compressed, ..], message)) = answer.split_first_chunk::<5>() else {
        return false;
    };
    compressed == 0 && HealthCheckResponse::decode(message).is_ok_and(|r| r.status == SERVING)
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}
