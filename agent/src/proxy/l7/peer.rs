//! Requests between two Weir agents (`weir/1`): what one adds and the other takes away.
//!
//! `weir-to: IP:PORT` or `weir-to: IP:PORT;h2` is the endpoint, and what its application is spoken
//! to in; `forwarded` says who the client is and which service it dialled, as it does of a CONNECT.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::FORWARDED};

use super::{
    answer::{self, Asker, Refusal},
    body::Body,
    inbound::Inbound,
    outgoing::Outgoing,
    pool::Version,
    semantics,
};
use crate::{
    model::service::Endpoint,
    proxy::{
        l4::tunnel::{self, Peer},
        pods::LocalPod,
        worker::Worker,
    },
    telemetry::{Reason, RequestProtocol},
    transport::hbone::{
        forwarded::Forwarded,
        request::pump,
        server::{Authority, PeerRequest, Wanted},
    },
};

const WEIR_TO: HeaderName = HeaderName::from_static("weir-to");
const HTTP2: &str = ";h2";

/// Clients and endpoints of one tunnel that are remembered; past it the tunnel starts anew.
const KNOWN_MAX: usize = 1024;

pub(super) fn weir_to(endpoint: Endpoint, http2: bool) -> HeaderValue {
    let to = SocketAddr::new(endpoint.address, endpoint.port);
    let text = format!("{to}{}", if http2 { HTTP2 } else { "" });
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Takes away what only agents say; an application that says it is not believed.
pub(super) fn strip(headers: &mut HeaderMap) {
    headers.remove(WEIR_TO);
    headers.remove(FORWARDED);
}

pub(super) fn address(headers: &mut HeaderMap, to: HeaderValue, forwarded: Option<HeaderValue>) {
    headers.insert(WEIR_TO, to);
    if let Some(forwarded) = forwarded {
        headers.insert(FORWARDED, forwarded);
    }
}

/// What one tunnel's requests have in common.
pub(in crate::proxy) struct Requests {
    worker: Rc<Worker>,
    pod: Rc<LocalPod>,
    peer: Rc<Peer>,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    generation: u64,
    /// By `weir-to` and `forwarded` as they came.
    inbounds: HashMap<(HeaderValue, Option<HeaderValue>), (Rc<Inbound>, Version)>,
}

impl Requests {
    pub(in crate::proxy) fn new(worker: Rc<Worker>, pod: Rc<LocalPod>, peer: Rc<Peer>) -> Self {
        Self {
            worker,
            pod,
            peer,
            known: RefCell::default(),
        }
    }

    /// One request of the peer's agent, to the application and back.
    pub(in crate::proxy) async fn serve(self: Rc<Self>, incoming: PeerRequest) {
        let PeerRequest {
            request,
            mut respond,
        } = incoming;
        let response = {
            let mut answering = std::pin::pin!(self.answer(request));
            tokio::select! {
                response = &mut answering => response,
                // The peer does not want the answer any more.
                _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
            }
        };
        let (head, body) = response.into_parts();
        let ends = hyper::body::Body::is_end_stream(&body);
        let Ok(send) = respond.send_response(Response::from_parts(head, ()), ends) else {
            return;
        };
        if !ends {
            // The record of the answer says how it ended.
            let _ = pump(body, send).await;
        }
    }

    async fn answer(&self, request: http::Request<h2::RecvStream>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let asker = Asker {
            grpc: RequestProtocol::of(&head) == RequestProtocol::Grpc,
            of_the_mesh: true,
        };
        let (inbound, version) = match self.inbound(&mut head.headers) {
            Ok(found) => found,
            Err(refusal) => {
                tracing::debug!(peer = %self.peer.address(), detail = %refusal.detail, "a request of a peer is refused");
                let mut response = answer::refuse(&refusal, asker);
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return response;
            }
        };
        semantics::strip_hop_by_hop(&mut head.headers);
        let mut outgoing = Outgoing::new(head, Body::of_peer(body), version);
        match inbound.deliver(&mut outgoing).await {
            Ok(delivered) => delivered.response,
            Err(refusal) => answer::refuse(&refusal, asker),
        }
    }

    fn inbound(&self, headers: &mut HeaderMap) -> Result<(Rc<Inbound>, Version), Refusal> {
        let bad = |detail: &'static str| Refusal::new(Reason::BadRequest, detail);
        let to = headers.remove(WEIR_TO).ok_or_else(|| bad("no weir-to"))?;
        let forwarded = headers.remove(FORWARDED);
        let snapshot = self.worker.snapshot();
        let mut known = self.known.borrow_mut();
        if known.generation != snapshot.generation || known.inbounds.len() >= KNOWN_MAX {
            *known = Known {
                generation: snapshot.generation,
                inbounds: HashMap::new(),
            };
        }
        let key = (to, forwarded);
        if let Some((inbound, version)) = known.inbounds.get(&key) {
            return Ok((Rc::clone(inbound), *version));
        }
        let text = key.0.to_str().map_err(|_| bad("weir-to is no text"))?;
        let (address, version) = match text.strip_suffix(HTTP2) {
            Some(address) => (address, Version::Http2),
            None => (text, Version::Http1),
        };
        let address = address.parse().map_err(|_| bad("weir-to is no address"))?;
        let wanted = Wanted {
            authority: Authority::Address(address),
            forwarded: key.1.as_ref().map(Forwarded::read).unwrap_or_default(),
        };
        let destination = tunnel::destination(&snapshot, &self.pod, &wanted)
            .ok_or_else(|| bad("not an address of this pod"))?;
        let peers = tunnel::peers(&self.pod, &self.peer, &wanted, &snapshot, destination);
        let (worker, pod) = (Rc::clone(&self.worker), Rc::clone(&self.pod));
        let inbound = Rc::new(Inbound::new(worker, pod, peers, None));
        known.inbounds.insert(key, (Rc::clone(&inbound), version));
        Ok((inbound, version))
    }
}
