//! Stale answers while a service fails (`TrafficPolicy.fallback`; RFC 9111, RFC 5861).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame;
use tokio::time::Instant;

use super::{
    answer::Refusal,
    body::Body,
    pipeline::{Exchange, Target},
    retry,
    send::Sent,
};
use crate::{
    proxy::services::{Hub, View},
    telemetry::Reason,
    traffic::fallback::{
        key::Key,
        storable::{self, Storable},
        store::{Answer, Owner},
    },
};

/// What is to be done with the answer to one request.
pub(super) struct Fallback {
    view: Arc<View>,
    stale_if_error: Duration,
    bytes_max: usize,
    pod: Arc<str>,
    key: Key,
    /// It changes what it names (RFC 9111 §4.4): nothing is kept of that any more.
    changes: bool,
}

type Outcome = Result<(Sent, Option<Instant>), Refusal>;

/// Made once and looked at once: a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
pub(super) enum Judged {
    /// In place of the failure that the text names.
    Stale(Response<Body>, Reason),
    Sent(Outcome),
}

impl Fallback {
    /// `None` where no policy asks for it.
    pub(super) fn of(exchange: &mut Exchange, target: &Target) -> Option<Self> {
        let settings = exchange
            .policies(target)
            .into_iter()
            .flatten()
            .find_map(|policy| policy.fallback.as_ref())?;
        let (stale_if_error, bytes_max) = (settings.stale_if_error, settings.max_bytes);
        let view = Arc::clone(target.view.as_ref()?);
        let head = &exchange.request.head;
        let changes = !matches!(
            head.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        if exchange.is_mirror || !changes && !settings.methods.contains(&head.method) {
            return None;
        }
        let source = exchange.cx.pod.workload();
        let authority = exchange.authority().to_ascii_lowercase();
        let key = Key {
            source: Some(source.identity.clone()),
            service: view.service.service.name.clone(),
            port: exchange.cx.dialled.port(),
            method: head.method.clone(),
            authority: authority.into(),
            path: exchange.path_and_query().into(),
        };
        exchange.request.keep_head();
        Some(Self {
            view,
            stale_if_error,
            bytes_max,
            pod: Arc::clone(&source.pod.uid),
            key,
            changes,
        })
    }

    pub(super) fn judge(self, exchange: &mut Exchange, outcome: Outcome) -> Judged {
        let (status, reason) = match &outcome {
            Ok((sent, _)) => (
                sent.response.status(),
                sent.failed.map(|failed| failed.reason),
            ),
            Err(refusal) => (refusal.http_status(), Some(refusal.reason)),
        };
        let hub = Arc::clone(&self.view.hub);
        let denied = matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED);
        if denied || self.changes && !status.is_client_error() && !status.is_server_error() {
            hub.stale.invalidate(&self.pod, &self.key);
            return Judged::Sent(outcome);
        }
        if self.changes {
            return Judged::Sent(outcome);
        }
        if is_failure(status) {
            let request = &exchange.request.head.headers;
            let within = (hub.now(), self.stale_if_error);
            return match hub.stale.get(&self.pod, &self.key, request, within) {
                Some(answer) => {
                    hub.metrics.stale_answer();
                    retry::discard(outcome.map(|(sent, _)| sent));
                    let why = reason.unwrap_or(Reason::UpstreamReset);
                    Judged::Stale(response(answer), why)
                }
                None => Judged::Sent(outcome),
            };
        }
        Judged::Sent(outcome.map(|(mut sent, until)| {
            sent.storing = self.storing(exchange, &sent);
            (sent, until)
        }))
    }

    fn storing(self, exchange: &mut Exchange, sent: &Sent) -> Option<Box<Storing>> {
        let request = &exchange.request.head.headers;
        let (status, headers) = (sent.response.status(), sent.response.headers());
        let now = exchange.cx.worker.unix_seconds();
        let storable = storable::of(&self.key.method, request, status, headers, now)?;
        Some(Box::new(Storing {
            hub: Arc::clone(&self.view.hub),
            pod: self.pod,
            bytes_max: self.bytes_max,
            key: self.key,
            // Nobody will send it again.
            request: exchange.request.take_headers(),
            storable,
            status,
            headers: headers.clone(),
            body: Vec::new(),
        }))
    }
}

/// RFC 5861 §4.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

fn response(answer: Answer) -> Response<Body> {
    let mut response = Response::new(match answer.body.is_empty() {
        true => Body::Empty,
        false => Body::Full(answer.body),
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// An answer that is kept once it is whole.
pub(super) struct Storing {
    hub: Arc<Hub>,
    pod: Arc<str>,
    bytes_max: usize,
    key: Key,
    request: HeaderMap,
    storable: Storable,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Storing {
    /// `false`: it is not to be kept after all, being too large or having trailers.
    pub(super) fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        let Some(data) = frame.data_ref() else {
            return false;
        };
        if self.body.len() + data.len() > self.bytes_max {
            return false;
        }
        if self.body.is_empty() {
            // Most answers are one frame, and what is kept should take no more than it has.
            self.body.reserve_exact(data.len());
        }
        self.body.extend_from_slice(data);
        true
    }

    pub(super) fn complete(self) {
        let owner = Owner {
            pod: &self.pod,
            bytes_max: self.bytes_max,
        };
        let answer = Answer {
            status: self.status,
            headers: self.headers,
            body: self.body.into_boxed_slice().into(),
        };
        let now = self.hub.now();
        let kept = (self.storable, answer);
        self.hub
            .stale
            .put(&owner, self.key, &self.request, kept, now);
    }
}
