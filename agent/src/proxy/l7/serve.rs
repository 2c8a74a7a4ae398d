//! Serves HTTP on one connection: HTTP/1.1 or HTTP/2, from an application or a peer.

use std::{cell::RefCell, convert::Infallible, future::poll_fn, pin::pin, rc::Rc};

use http::{HeaderValue, Request, Response, StatusCode, header::CONNECTION};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    answer::{self, Asker, Last, Refusal},
    body::Body,
    pool::Local,
    upgrade::Upgraded,
    wire::{Speaks, Watch, Wire},
};
use crate::{
    proxy::{registry::Registered, worker::Worker},
    telemetry::Reason,
    transport::limits::*,
};

/// Who answers the requests of a connection.
pub(in crate::proxy) trait Handler: 'static {
    /// `turns` takes what the connection becomes where the answer is 101, or 2xx to CONNECT.
    fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
        served: Served,
        turns: Turns,
    ) -> impl Future<Output = Response<Body>> + 'static;

    /// Whether who asks is an enrolled pod.
    fn of_the_mesh(&self) -> bool;

    /// The connection was not HTTP, or broke its rules.
    fn broken(&self, reason: Reason, detail: String);
}

/// Where a handler leaves what its connection becomes.
pub(in crate::proxy) type Turns = Rc<RefCell<Option<Upgraded>>>;

/// A request that is being answered. Dropped at the end of the answer's body.
pub(in crate::proxy) struct Served {
    watch: Rc<Watch>,
}

impl Served {
    fn new(watch: &Rc<Watch>) -> (Self, bool) {
        let length_seen = watch.request_began();
        let watch = Rc::clone(watch);
        (Self { watch }, length_seen)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.watch.request_ended();
    }
}

/// Serves until the connection ends; the reason for which the thread ended it, if it did.
pub(in crate::proxy) async fn serve<H: Handler>(
    worker: Rc<Worker>,
    handler: Rc<H>,
    wire: Wire,
    speaks: Speaks,
    registered: Registered,
) {
    let watch = Rc::new(Watch::new(Rc::clone(&registered.supervision), speaks));
    let wire = wire.watched(Rc::clone(&watch));
    match speaks {
        Speaks::Http1 => http1(&worker, handler, wire, &watch, &registered).await,
        Speaks::Http2 => http2(&worker, handler, wire, &watch, &registered).await,
    }
}

async fn http1<H: Handler>(
    worker: &Rc<Worker>,
    handler: Rc<H>,
    wire: Wire,
    watch: &Rc<Watch>,
    registered: &Registered,
) {
    let turns = Turns::default();
    let service = {
        let (handler, watch, turns) = (Rc::clone(&handler), Rc::clone(watch), Rc::clone(&turns));
        let worker = Rc::clone(worker);
        service_fn(move |request: Request<Incoming>| {
            let (served, length_seen) = Served::new(&watch);
            // hyper has framed it by Transfer-Encoding alone and dropped the length.
            let ambiguous = length_seen
                && request
                    .headers()
                    .contains_key(http::header::TRANSFER_ENCODING);
            let (handler, turns) = (Rc::clone(&handler), Rc::clone(&turns));
            let worker = Rc::clone(&worker);
            // In a box, so that the connection can be moved while it is served.
            Box::pin(async move {
                let mut response = handler.answer(request, served, turns).await;
                let last = response.extensions_mut().remove::<Last>().is_some();
                if ambiguous || last || worker.is_draining() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            })
        })
    };
    let mut connection = http1::Builder::new()
        .max_buf_size(READ_AHEAD_BYTES_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), service);
    let ended = {
        let mut served = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
        let mut drained = pin!(worker.drained());
        let mut draining = false;
        loop {
            tokio::select! {
                ended = &mut served => break Ended::Http(ended),
                reason = registered.supervision.ended() => break Ended::Told(reason),
                () = &mut drained, if !draining => {
                    draining = true;
                    // One that is busy closes after its answer.
                    if watch.is_idle() {
                        break Ended::Http(Ok(()));
                    }
                }
            }
        }
    };
    let parts = connection.into_parts();
    let mut wire = parts.io.into_inner();
    match (ended, watch.refused()) {
        (Ended::Told(Reason::HeaderTimeout), _) => {
            let detail = format!("no complete head within {HEADER_TIMEOUT:?}");
            refuse_unread(&mut wire, &*handler, Reason::HeaderTimeout, detail).await;
        }
        (Ended::Told(_), _) => wire.reset(),
        (Ended::Http(ended), Some(status)) => {
            let reason = match status {
                StatusCode::URI_TOO_LONG => Reason::UriTooLong,
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Reason::HeadersTooLarge,
                _ => Reason::BadRequest,
            };
            let why = ended.err().map(|error| error.to_string());
            let why = why.unwrap_or_else(|| "not a valid request".to_owned());
            refuse_unread(&mut wire, &*handler, reason, why).await;
        }
        (Ended::Http(Ok(())), None) => {
            let upgraded = turns.borrow_mut().take();
            match upgraded {
                Some(upgraded) => upgraded.run(wire, parts.read_buf, registered).await,
                None => linger(&mut wire).await,
            }
        }
        (Ended::Http(Err(error)), None) => tracing::trace!(%error, "a connection ended"),
    }
}

/// Closes, and reads what still comes for a while: a close with bytes unread is a reset, which
/// may take the answer away from a client that is still sending (RFC 9112 §9.6).
async fn linger(wire: &mut Wire) {
    let read_on = async {
        wire.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        let mut scratch = [0; 4096];
        while left > 0 {
            match wire.read(&mut scratch).await? {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        Ok::<(), std::io::Error>(())
    };
    // In a box: a buffer that few connections need is not carried by all. A peer that is gone is
    // as good as one that has read everything.
    let _ = timeout(LINGER_TIMEOUT, Box::pin(read_on)).await;
}

enum Ended {
    Http(hyper::Result<()>),
    Told(Reason),
}

/// Answers what is no request, and closes.
async fn refuse_unread<H: Handler>(wire: &mut Wire, handler: &H, reason: Reason, detail: String) {
    let refusal = Refusal::new(reason, detail.clone());
    let asker = Asker {
        grpc: false,
        of_the_mesh: handler.of_the_mesh(),
    };
    let response = answer::refuse(&refusal, asker);
    wire.unwatch();
    // The peer may be gone, which is as good.
    let bytes = answer::to_bytes(response);
    let _ = timeout(HEADER_TIMEOUT, wire.write_all(&bytes)).await;
    linger(wire).await;
    handler.broken(reason, detail);
}

async fn http2<H: Handler>(
    worker: &Rc<Worker>,
    handler: Rc<H>,
    wire: Wire,
    watch: &Rc<Watch>,
    registered: &Registered,
) {
    let service = {
        let (handler, watch) = (Rc::clone(&handler), Rc::clone(watch));
        service_fn(move |request: Request<Incoming>| {
            let (served, _) = Served::new(&watch);
            let answer = Rc::clone(&handler).answer(request, served, Turns::default());
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let connection = http2::Builder::new(Local)
        .initial_stream_window_size(APP_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(APP_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(APP_STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_send_buf_size(STREAM_SEND_BUFFER_BYTES)
        .serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    let mut drained = pin!(worker.drained());
    let mut draining = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended
                    && let Some(detail) = broke_the_rules(&error)
                {
                    handler.broken(Reason::BadRequest, detail);
                }
                return;
            }
            _reason = registered.supervision.ended() => return,
            () = &mut drained, if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What of a failed HTTP/2 connection is the peer's doing, and more than going away.
fn broke_the_rules(error: &hyper::Error) -> Option<String> {
    let source = std::error::Error::source(error)?;
    let h2 = source.downcast_ref::<h2::Error>()?;
    let ours = h2.is_library() || (h2.is_go_away() && !h2.is_remote());
    ours.then(|| h2.to_string())
}
