//! What Weir itself answers: a status, a short text, and why, for people with curl.

use std::{borrow::Cow, time::Duration};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::body::{Body, Received};
use crate::{
    model::traffic_policy::AbortWith, proxy::guarded::Excess, telemetry::Reason, traffic::fault,
};

/// Why Weir answered in the application's place. Never passed on from an application.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-weir-reason");

/// Beside [`REASON`]: the application refused the stream and has processed nothing of it, so that the
/// caller's agent may try again.
pub(super) const UNPROCESSED: HeaderName = HeaderName::from_static("x-weir-unprocessed");

/// A request that goes no further.
#[derive(Debug)]
pub(in crate::proxy) struct Refusal {
    pub(super) reason: Reason,
    pub(super) detail: Cow<'static, str>,
    /// When it makes sense to ask again.
    pub(super) retry_after: Option<Duration>,
    /// In place of what the reason means.
    pub(super) answer: Option<AbortWith>,
    /// Who refused says that nothing was processed (RFC 9113 §8.7).
    pub(super) unprocessed: bool,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            retry_after: None,
            answer: None,
            unprocessed: false,
        }
    }
}

impl Refusal {
    pub(super) fn http_status(&self) -> StatusCode {
        let answer = self.answer.map(fault::http_status);
        answer.unwrap_or_else(|| self.reason.http_status())
    }

    pub(super) fn grpc_status(&self) -> u16 {
        let answer = self.answer.map(fault::grpc_status);
        answer.unwrap_or_else(|| self.reason.grpc_status())
    }

    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Where the client broke its own request, that is the reason for all that followed.
    pub(super) fn or_broken(self, received: Option<&Received>) -> Self {
        match received.is_some_and(Received::is_broken) {
            true => Self::new(Reason::BadRequest, "the request's body broke off"),
            false => self,
        }
    }

    /// What follows on the connection may be something else than it seems.
    fn ends_the_connection(&self) -> bool {
        matches!(
            self.reason,
            Reason::BadRequest | Reason::UriTooLong | Reason::HeadersTooLarge
        )
    }
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Rate { retry_after } => {
                Self::new(Reason::RateLimited, "more than the rate limit").retry_after(retry_after)
            }
            Excess::Concurrency { limit, queue } => {
                let detail = format!("{limit} requests are worked on and {queue} wait");
                Self::new(Reason::Overloaded, detail)
            }
        }
    }
}

/// Marks an answer after which an HTTP/1.1 connection is closed.
#[derive(Clone, Copy)]
pub(super) struct Last;

/// Who asks, as far as the answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) grpc: bool,
    /// An enrolled pod is told why; others get the status alone.
    pub(super) of_the_mesh: bool,
}

pub(super) fn refuse(refusal: &Refusal, asker: Asker) -> Response<Body> {
    let status = refusal.http_status();
    let mut response = if asker.grpc {
        grpc(refusal, asker.of_the_mesh)
    } else {
        plain(refusal, status, asker.of_the_mesh)
    };
    if refusal.ends_the_connection() {
        response.extensions_mut().insert(Last);
    }
    if let Some(wait) = refusal.retry_after {
        // Whole seconds (RFC 9110 §10.2.3), and not a moment too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.max(1).into());
    }
    if asker.of_the_mesh {
        let reason = HeaderValue::from_static(refusal.reason.as_str());
        response.headers_mut().insert(REASON, reason);
        if refusal.unprocessed {
            response
                .headers_mut()
                .insert(UNPROCESSED, HeaderValue::from_static("true"));
        }
    }
    response
}

fn plain(refusal: &Refusal, status: StatusCode, told_why: bool) -> Response<Body> {
    let text = match told_why {
        true => format!("weir: {}: {}\n", refusal.reason, refusal.detail),
        false => format!("{}\n", status.canonical_reason().unwrap_or_default()),
    };
    let length = text.len();
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

/// Trailers alone, as gRPC over HTTP/2 has it: status 200, the outcome in the head.
fn grpc(refusal: &Refusal, told_why: bool) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", refusal.grpc_status().into());
    if told_why {
        let message = percent_encoded(&format!("weir: {}: {}", refusal.reason, refusal.detail));
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert("grpc-message", message);
        }
    }
    response
}

/// `grpc-message` (gRPC over HTTP/2, "Responses"): printable ASCII but the percent sign as it is.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The whole of an answer as it goes over an HTTP/1.1 connection that is closed afterwards.
pub(super) fn to_bytes(response: Response<Body>) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let mut out = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default()
    )
    .into_bytes();
    for (name, value) in &parts.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if let Body::Full(text) = body {
        out.extend_from_slice(&text);
    }
    out
}
