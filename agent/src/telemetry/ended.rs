//! What is known of a connection or request once it is over: what the access log, a span and a tap
//! are made of. Made only when one of them wants it.

mod line;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};

pub(super) use self::line::Line;
use super::{
    http::{RequestDetails, RequestProtocol, RouteRef},
    peers::ConnectionInfo,
    reason::Reason,
    tap::CapturedHeaders,
    trace::{TraceContext, TraceId},
};

#[derive(Debug)]
pub(super) struct Ended {
    /// When it began.
    pub(super) time: SystemTime,
    pub(super) duration: Duration,
    pub(super) peers: ConnectionInfo,
    pub(super) reason: Reason,
    pub(super) detail: Option<Cow<'static, str>>,
    pub(super) policy: Option<Arc<str>>,
    /// In response and in request; of requests, their bodies.
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// `None`: a connection.
    pub(super) request: Option<EndedRequest>,
}

#[derive(Debug)]
pub(super) struct EndedRequest {
    pub(super) protocol: RequestProtocol,
    pub(super) method: Method,
    /// `None`: there was no answer.
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u8>,
    pub(super) details: Option<Box<RequestDetails>>,
    pub(super) route: Option<RouteRef>,
    pub(super) trace: Option<TraceContext>,
    pub(super) headers: Option<Box<CapturedHeaders>>,
}

impl EndedRequest {
    pub(super) fn path(&self) -> Option<&str> {
        self.details.as_ref().map(|details| &*details.path)
    }

    /// The trace that it belongs to, whether Weir makes a span of it or not.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        let passing = || self.details.as_ref()?.trace_id;
        self.trace
            .as_ref()
            .map(|trace| trace.trace_id)
            .or_else(passing)
    }
}

/// Whether somebody should look at it: a bad end, an answer of 500 or above, or a gRPC status that
/// is the server's fault (OpenTelemetry's conventions for gRPC: 2, 4, 12, 13, 14, 15).
pub(super) fn failed(reason: Reason, status: Option<StatusCode>, grpc_status: Option<u8>) -> bool {
    !reason.is_ok()
        || status.is_some_and(|status| status.as_u16() >= 500)
        || grpc_status.is_some_and(|status| matches!(status, 2 | 4 | 12..=15))
}
