//! What is told of an HTTP request: Istio's standard metrics, the latency of routes, the access
//! log, traces and tap.
//!
//! A worker begins a [`RequestRecord`] when it has read a request's head, fills in what it learns,
//! adds bytes as bodies pass and finishes with a [`Reason`]. Everything is counted at the end, with
//! one look-up by address for the traffic and one for the route: no lock, no label is hashed.
//!
//! `istio_request_bytes` and `istio_response_bytes` are the bytes of bodies.

mod counters;

use std::{
    borrow::Cow,
    cell::Cell,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, StatusCode, header, request::Parts};

use self::counters::RequestOutcome;
pub(super) use self::counters::{Caches, RequestMetrics};
pub use self::counters::{REQUEST_LABEL_SETS_MAX, RouteRef};
use super::{
    Wanted,
    ended::{self, Ended, EndedRequest},
    peers::ConnectionInfo,
    reason::Reason,
    tap::{self, CapturedHeaders},
    trace::{self, TraceContext, TraceId},
    worker::{Worker, WorkerTelemetry},
};

/// Text of a request that is kept for the access log, traces and tap: of each field so much.
pub(super) const DETAIL_BYTES_MAX: usize = 1024;

/// What a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    Http1,
    Http2,
    Grpc,
}

impl RequestProtocol {
    /// gRPC is HTTP/2 with a content type of its own (gRPC over HTTP2, "Requests").
    pub fn of(head: &Parts) -> Self {
        let is_grpc = |value: &header::HeaderValue| {
            let value = value.as_bytes();
            value
                .strip_prefix(b"application/grpc")
                .is_some_and(|rest| rest.is_empty() || matches!(rest[0], b'+' | b';'))
        };
        match head.version {
            http::Version::HTTP_2 => match head.headers.get(header::CONTENT_TYPE) {
                Some(value) if is_grpc(value) => Self::Grpc,
                _ => Self::Http2,
            },
            _ => Self::Http1,
        }
    }

    /// As it is written in HTTP/1.
    pub fn version(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 | Self::Grpc => "HTTP/2",
        }
    }

    /// The value of the label `request_protocol`, which knows no versions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 | Self::Http2 => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What is known of a request. What is found out later is set on the record.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    pub peers: ConnectionInfo,
    pub protocol: RequestProtocol,
    pub method: Method,
    /// [`WorkerTelemetry::details`]
    pub details: Option<Box<RequestDetails>>,
    pub route: Option<RouteRef>,
}

/// Text of a request, taken only when something wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDetails {
    /// Without the query, which may carry secrets.
    pub path: Box<str>,
    /// `:authority` or `Host`.
    pub authority: Option<Box<str>>,
    pub user_agent: Option<Box<str>>,
    /// The trace that the client says it belongs to.
    pub trace_id: Option<TraceId>,
}

impl RequestDetails {
    fn of(head: &Parts) -> Self {
        let text = |name| {
            let value = head.headers.get(name)?;
            Some(bounded(value.to_str().ok()?))
        };
        Self {
            path: bounded(head.uri.path()),
            authority: match head.uri.authority() {
                Some(authority) => Some(bounded(authority.as_str())),
                None => text(header::HOST),
            },
            user_agent: text(header::USER_AGENT),
            trace_id: trace::extract(&head.headers).map(|context| context.trace_id),
        }
    }
}

fn bounded(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(DETAIL_BYTES_MAX)].into()
}

impl WorkerTelemetry {
    /// What [`RequestInfo::details`] is to be. `None` while neither the access log nor a trace nor a
    /// tap would show it: then it costs one load.
    pub fn details(&self, head: &Parts) -> Option<Box<RequestDetails>> {
        self.0
            .shared
            .wants_anything()
            .then(|| Box::new(RequestDetails::of(head)))
    }
}

/// One request, from its head to the end of the answer.
///
/// Dropped without [`Self::finish`] it counts as [`Reason::DownstreamReset`]: unlike a connection's
/// task, a request's future is dropped by hyper whenever the client goes away.
#[must_use = "a record that is dropped counts as a request whose client went away"]
pub struct RequestRecord {
    worker: Rc<Worker>,
    info: RequestInfo,
    began: Instant,
    status: Option<StatusCode>,
    grpc_status: Option<u8>,
    sent: Cell<u64>,
    received: Cell<u64>,
    policy: Option<Arc<str>>,
    trace: Option<TraceContext>,
    headers: Option<Box<CapturedHeaders>>,
    finished: bool,
}

impl RequestRecord {
    pub(super) fn new(worker: Rc<Worker>, info: RequestInfo) -> Self {
        Self {
            began: worker.shared.clock.now(),
            worker,
            info,
            status: None,
            grpc_status: None,
            sent: Cell::new(0),
            received: Cell::new(0),
            policy: None,
            trace: None,
            headers: None,
            finished: false,
        }
    }

    pub fn info(&self) -> &RequestInfo {
        &self.info
    }

    /// Where what was not known at first is set: the endpoint, the route, the peer's identity. Read
    /// once, at the end.
    pub fn info_mut(&mut self) -> &mut RequestInfo {
        &mut self.info
    }

    /// The name of the policy that decided (`namespace/name`), for the access log.
    pub fn set_policy(&mut self, name: Arc<str>) {
        self.policy = Some(name);
    }

    /// The span that this request is, of [`WorkerTelemetry::trace`].
    pub fn set_trace(&mut self, trace: Option<TraceContext>) {
        self.trace = trace;
    }

    /// The request's header, for taps; does nothing while there are none.
    pub fn capture_headers(&mut self, headers: &HeaderMap) {
        if self.worker.shared.wants(Wanted::Taps) {
            self.headers.get_or_insert_default().request = tap::redacted(headers);
        }
    }

    /// The same of the answer.
    pub fn capture_response_headers(&mut self, headers: &HeaderMap) {
        if self.worker.shared.wants(Wanted::Taps) {
            self.headers.get_or_insert_default().response = tap::redacted(headers);
        }
    }

    /// Bytes of the answer's body passed.
    pub fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
    }

    /// Bytes of the request's body passed.
    pub fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
    }

    /// The answer's head was sent to the client, be it the endpoint's or Weir's own. Without it
    /// `response_code` is 0.
    pub fn response(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The status of a gRPC call. Numbers that gRPC does not define count as 2, `UNKNOWN`.
    pub fn grpc_status(&mut self, code: u16) {
        const UNKNOWN: u8 = 2;
        const UNAUTHENTICATED: u8 = 16;
        let code = u8::try_from(code).ok();
        self.grpc_status = code
            .filter(|code| *code <= UNAUTHENTICATED)
            .or(Some(UNKNOWN));
    }

    /// [`Self::grpc_status`] from trailers, or from the head of an answer that is nothing but
    /// trailers. Does nothing for other requests, nor without the field.
    pub fn grpc_status_from(&mut self, headers: &HeaderMap) {
        if self.info.protocol != RequestProtocol::Grpc {
            return;
        }
        let Some(value) = headers.get("grpc-status") else {
            return;
        };
        let code = value.to_str().ok().and_then(|text| text.parse().ok());
        self.grpc_status(code.unwrap_or(u16::MAX));
    }

    /// The request is over: its answer was sent to its end, or never will be. `detail` is for
    /// people: never content of the request, a header or a key.
    pub fn finish(mut self, reason: Reason, detail: Option<Cow<'static, str>>) {
        self.end(reason, detail);
    }

    /// It was no traffic, but the agent's own: nothing is told of it.
    pub fn dismiss(mut self) {
        self.finished = true;
    }

    fn end(&mut self, reason: Reason, detail: Option<Cow<'static, str>>) {
        self.finished = true;
        let shared = &self.worker.shared;
        let duration = shared.clock.now().saturating_duration_since(self.began);
        let outcome = RequestOutcome {
            protocol: self.info.protocol,
            code: self.status.map_or(0, |status| status.as_u16()),
            grpc_status: self.grpc_status,
            flags: reason.flags(),
        };
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let mut caches = self.worker.http.borrow_mut();
        let series = caches.requests(&shared.http, &self.info.peers, outcome);
        series.counters.requests.fetch_add(1, Relaxed);
        series.counters.duration.observe(micros);
        series.counters.received.observe(self.received.get());
        series.counters.sent.observe(self.sent.get());
        if series.is_overflow() {
            shared.metrics.series_overflowed();
        }
        if let Some(route) = &self.info.route
            && self.info.peers.reporter == super::Reporter::Source
        {
            let series = caches.routes(&shared.http, route, outcome.code);
            series.counters.duration.observe(micros);
        }
        drop(caches);
        shared.metrics.request_ended(reason);
        self.tell(reason, detail, duration);
    }

    fn tell(&mut self, reason: Reason, detail: Option<Cow<'static, str>>, duration: Duration) {
        let shared = &self.worker.shared;
        let traced = self
            .trace
            .as_ref()
            .is_some_and(|trace| trace.sampled == Some(true));
        let failed = ended::failed(reason, self.status, self.grpc_status);
        let request = EndedRequest {
            protocol: self.info.protocol,
            method: self.info.method.clone(),
            status: self.status,
            grpc_status: self.grpc_status,
            details: self.info.details.take(),
            route: self.info.route.clone(),
            trace: self.trace.take(),
            headers: self.headers.take(),
        };
        let peers = &self.info.peers;
        self.worker.tell(peers, failed, traced, || Ended {
            time: shared.clock.wall() - duration,
            duration,
            peers: peers.clone(),
            reason,
            detail,
            policy: self.policy.take(),
            bytes_sent: self.sent.get(),
            bytes_received: self.received.get(),
            request: Some(request),
        });
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Reason::DownstreamReset, None);
        }
    }
}

#[cfg(test)]
mod tests;
