//! Sending a request to one of a service's endpoints, whichever way it is reached.

use std::{future::poll_fn, pin::Pin, rc::Rc, sync::Arc, task::Poll, time::Duration};

use h2::{RecvStream, client::ResponseFuture};
use http::{Method, Request, Response, StatusCode, request::Parts};
use hyper::body::Body as _;
use tokio::{
    task::{JoinHandle, spawn_local},
    time::sleep,
};

use super::{
    answer::{REASON, Refusal},
    balance::InFlight,
    body::{Body, Keep},
    expect::GoOn,
    inbound,
    outbound::Outbound,
    outgoing::Outgoing,
    peer,
    pipeline::{Exchange, Target},
    pool::{Key, Version},
    semantics,
    upgrade::Upgraded,
    upstream::{self, By, Upstream},
};
use crate::{
    model::{
        pod::Workload,
        service::{Endpoint, ServiceState},
    },
    proxy::{
        pods::LocalPod,
        way::{self, Way},
        worker::HttpOver,
    },
    telemetry::{Reason, SecurityPolicy},
    transport::{
        hbone::{
            client::{Connect, Tunnel},
            forwarded::Forwarded,
            pool::{Dialler, PoolKey},
            request::{RequestError, pump},
        },
        tls::Wire as TunnelWire,
    },
};

/// Endpoints that are tried before the application hears of a failure: only as long as nothing
/// was sent.
const ENDPOINTS_TRIED_MAX: usize = 3;
/// Between two tries of a tunnel port that refuses while its pod's enrolment is fresh.
const REFUSED_BACKOFF: Duration = Duration::from_millis(50);
/// Tunnels that are tried before the request fails.
const TUNNELS_TRIED_MAX: usize = 2;

/// An endpoint's answer, or its agent's.
pub(super) struct Sent {
    pub(super) response: Response<Body>,
    pub(super) endpoint: Endpoint,
    pub(super) keep: Keep,
    pub(super) becomes: Option<Upgraded>,
    pub(super) load: InFlight,
    /// The destination's agent answered in the application's place.
    pub(super) failed: Option<Reason>,
}

struct Answered {
    response: Response<Body>,
    keep: Keep,
    becomes: Option<Upgraded>,
    failed: Option<Reason>,
}

pub(super) async fn send(exchange: &mut Exchange, target: &Target) -> Result<Sent, Refusal> {
    let cx = Rc::clone(&exchange.cx);
    if target.http2 {
        exchange.request.version = Version::Http2;
    }
    let mut tried: Vec<Endpoint> = Vec::new();
    let usable = target.endpoints.usable(cx.dialled.is_ipv6());
    loop {
        let pinned = target.pinned.filter(|_| tried.is_empty());
        let chosen = pinned.or_else(|| cx.worker.balancer.choose(usable, &tried));
        let Some(endpoint) = chosen else {
            return Err(Refusal::new(Reason::NoHealthyEndpoint, "there is none"));
        };
        let mut load = cx.worker.balancer.begin(endpoint);
        match to_endpoint(exchange, target, endpoint, &mut load).await {
            Ok(answered) => {
                load.answered();
                return Ok(Sent {
                    response: answered.response,
                    endpoint,
                    keep: answered.keep,
                    becomes: answered.becomes,
                    failed: answered.failed,
                    load,
                });
            }
            Err(refusal) => {
                tried.push(endpoint);
                let others = tried.len() < usable.len();
                if !exchange.request.is_unsent() || !others || tried.len() >= ENDPOINTS_TRIED_MAX {
                    return Err(refusal);
                }
            }
        }
    }
}

async fn to_endpoint(
    exchange: &mut Exchange,
    target: &Target,
    endpoint: Endpoint,
    load: &mut InFlight,
) -> Result<Answered, Refusal> {
    loop {
        let (way, destination) = way::to(&exchange.cx.worker, &exchange.snapshot, endpoint);
        describe(exchange, target, endpoint, &way, destination.as_ref());
        let mut sending = Sending {
            cx: &exchange.cx,
            generation: exchange.snapshot.generation,
            request: &mut exchange.request,
            service: target.service.as_ref(),
            endpoint,
            load: &mut *load,
        };
        return match (way, &destination) {
            (Way::Denied, _) => Err(Refusal::new(Reason::PolicyDenied, way::DENIED)),
            (Way::SameNode(pod), _) => sending.same_node(&pod).await,
            (Way::Tunnel, Some(workload)) => match sending.tunnel(workload).await {
                // The other node's agent may not be there yet, or not any more: look again.
                Err(refusal)
                    if refusal.reason == Reason::TunnelRefused && way::is_fresh(workload) =>
                {
                    sleep(REFUSED_BACKOFF).await;
                    exchange.snapshot = exchange.cx.worker.snapshot();
                    continue;
                }
                outcome => outcome,
            },
            _ => Box::pin(sending.plain()).await,
        };
    }
}

/// Whom the record is about, from here on.
fn describe(
    exchange: &mut Exchange,
    target: &Target,
    endpoint: Endpoint,
    way: &Way,
    destination: Option<&Arc<Workload>>,
) {
    let peers = &mut exchange.record.info_mut().peers;
    peers.destination_address = Target::address(endpoint);
    peers.destination = destination.cloned();
    if target.service.is_some() {
        peers.service.clone_from(&target.service);
    }
    let captured = matches!(way, Way::SameNode(_) | Way::Tunnel);
    peers.destination_principal = destination
        .filter(|_| captured)
        .map(|workload| workload.identity.clone());
    peers.security = match way {
        Way::Tunnel => SecurityPolicy::MutualTls,
        _ => SecurityPolicy::None,
    };
    if !captured {
        peers.source_principal = None;
    }
}

/// One request to one endpoint. Where nothing was sent, `request` is as it was.
struct Sending<'a> {
    cx: &'a Rc<Outbound>,
    generation: u64,
    request: &'a mut Outgoing,
    service: Option<&'a Arc<ServiceState>>,
    endpoint: Endpoint,
    load: &'a mut InFlight,
}

impl Sending<'_> {
    /// No wire: the destination's half is called.
    async fn same_node(&mut self, pod: &Rc<LocalPod>) -> Result<Answered, Refusal> {
        let inbound = self
            .cx
            .same_node(self.generation, pod, self.endpoint, self.service);
        // In a box: requests to other nodes need not carry what this takes.
        let delivered = Box::pin(inbound.deliver(self.request)).await?;
        Ok(Answered {
            response: delivered.response,
            keep: Keep::Nothing,
            becomes: delivered.becomes,
            failed: None,
        })
    }

    async fn plain(&mut self) -> Result<Answered, Refusal> {
        let cx = Rc::clone(self.cx);
        let upstream = Upstream {
            worker: &cx.worker,
            key: self.key(None),
            version: self.request.version,
            by: By::Tcp {
                net: &*cx.pod.net,
                shown_as: None,
                seed: None,
            },
        };
        self.over(upstream, false).await
    }

    fn key(&self, through: Option<Arc<str>>) -> Key {
        Key {
            pod: self.cx.pod.id,
            shown_as: None,
            to: Target::address(self.endpoint),
            through,
        }
    }

    /// HTTP over a connection of its own: a socket, or a CONNECT through a tunnel.
    async fn over(
        &mut self,
        mut upstream: Upstream<'_>,
        believed: bool,
    ) -> Result<Answered, Refusal> {
        let lease = upstream.connect().await?;
        self.load.connected();
        let (head, body) = self.request.take();
        let becomes = self.request.becomes.as_ref();
        let mut request = inbound::to_application(head, body, becomes, self.request.version);
        upstream::listen(
            self.request.expects.as_ref(),
            self.request.version,
            &mut request,
        );
        let (response, lease) = upstream.send(lease, request).await?;
        let (mut head, body) = response.into_parts();
        let failed = reason_of(&mut head.headers, believed);
        if upstream::became(becomes, head.status) {
            let (upstream, read_ahead) = upstream::take_over(&lease).await?;
            return Ok(Answered {
                response: Response::from_parts(head, Body::Empty),
                keep: Keep::Nothing,
                becomes: Some(Upgraded {
                    upstream,
                    read_ahead,
                    records: Vec::new(),
                    guards: Default::default(),
                }),
                failed,
            });
        }
        semantics::strip_answer(&mut head.headers);
        Ok(Answered {
            response: Response::from_parts(head, Body::of_request(body)),
            keep: Keep::Lease(lease),
            becomes: None,
            failed,
        })
    }

    async fn tunnel(&mut self, destination: &Workload) -> Result<Answered, Refusal> {
        let worker = &self.cx.worker;
        let key = way::pool_key(&self.cx.pod, Target::address(self.endpoint), destination);
        let dialler = self.cx.pod.dialler();
        let head = &self.request.head;
        let as_request = worker.shared.http_over == HttpOver::Weir
            && self.request.becomes.is_none()
            && !(head.method == Method::OPTIONS && head.uri.path() == "*");
        let mut last = None;
        for _ in 0..TUNNELS_TRIED_MAX {
            let tunnel = match worker.pool.tunnel(&key, &dialler).await {
                Ok((tunnel, _warm)) => tunnel,
                Err(error) => return Err(Refusal::new(error.reason(), error.to_string())),
            };
            if !as_request || tunnel.wire() != TunnelWire::Weir {
                let believed = tunnel.wire() == TunnelWire::Weir;
                let through = Arc::clone(&destination.pod.uid);
                return Box::pin(self.connect(key, dialler, through, believed)).await;
            }
            match self.as_stream(&tunnel).await {
                // A warm tunnel may have died unnoticed.
                Err(refusal) if self.request.is_unsent() => last = Some(refusal),
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(|| Refusal::new(Reason::TunnelReset, "no tunnel")))
    }

    /// As bytes through a CONNECT: for peers that know no more, and for upgrades.
    async fn connect(
        &mut self,
        key: PoolKey,
        dialler: Dialler,
        through: Arc<str>,
        believed: bool,
    ) -> Result<Answered, Refusal> {
        let cx = Rc::clone(self.cx);
        let baggage = cx.pod.baggage();
        let upstream = Upstream {
            worker: &cx.worker,
            key: self.key(Some(through)),
            version: self.request.version,
            by: By::Tunnel {
                key,
                dialler,
                wanted: Connect {
                    destination: Target::address(self.endpoint),
                    forwarded: Forwarded {
                        client: Some(cx.client),
                        host: self.service.map(|service| cx.worker.host_name(service)),
                    },
                    baggage: baggage.as_ref(),
                },
            },
        };
        self.over(upstream, believed).await
    }

    /// As a stream of its own (`weir/1`).
    async fn as_stream(&mut self, tunnel: &Rc<Tunnel>) -> Result<Answered, Refusal> {
        let cx = self.cx;
        self.load.connected();
        let (head, body) = self.request.take();
        let again = Outgoing::copy(&head, &body);
        let mut request = Request::from_parts(head, body);
        inbound::absolute_form(&mut request);
        let http2 = self.request.version == Version::Http2;
        peer::address(
            request.headers_mut(),
            cx.weir_to(self.generation, self.endpoint, http2),
            cx.forwarded(self.generation, self.service),
        );
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        let metrics = &cx.worker.metrics;
        let opened = tunnel.request(Request::from_parts(head, ()), ends, metrics);
        let mut opened = match opened.await {
            Ok(opened) => opened,
            Err(error) => return Err(self.unanswered(tunnel, error, again)),
        };
        let pumping = (!ends).then(|| {
            let send = opened.send;
            Pumping(spawn_local(async move {
                // The answer tells how the request ended.
                let _ = pump(body, send).await;
            }))
        });
        let go_on = self.request.expects.clone();
        match answer(&mut opened.response, go_on.as_ref()).await {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                let failed = reason_of(&mut head.headers, true);
                Ok(Answered {
                    response: Response::from_parts(head, Body::of_peer(body)),
                    keep: Keep::Peer {
                        _held: opened.held,
                        _pumping: pumping,
                    },
                    becomes: None,
                    failed,
                })
            }
            Err(error) => {
                let error = RequestError::of(error, metrics);
                Err(self.unanswered(tunnel, error, again))
            }
        }
    }

    /// `again`: the request once more, where that is harmless.
    fn unanswered(
        &mut self,
        tunnel: &Tunnel,
        error: RequestError,
        again: Option<Parts>,
    ) -> Refusal {
        if let RequestError::Http2(error) = &error {
            tunnel.note(error);
        }
        let reason = error.reason();
        // What the application reset it has seen: that is its answer.
        let of_the_tunnel = reason != Reason::UpstreamReset || error.is_unprocessed();
        if let Some(head) = again.filter(|_| of_the_tunnel) {
            self.request.put_back(head, Body::Empty);
        }
        Refusal::new(reason, error.to_string())
    }
}

/// The peer's answer, and before it perhaps the application's word to go on with the body.
async fn answer(
    response: &mut ResponseFuture,
    go_on: Option<&GoOn>,
) -> Result<Response<RecvStream>, h2::Error> {
    if let Some(go_on) = go_on {
        poll_fn(|cx| {
            // While there is more to come before the answer; what is wrong shows in the answer.
            if let Poll::Ready(Some(Ok(said))) = response.poll_informational(cx)
                && said.status() == StatusCode::CONTINUE
            {
                go_on.say();
            }
            Pin::new(&mut *response).poll(cx)
        })
        .await
    } else {
        response.await
    }
}

/// The request's body is sent as long as this lives.
pub(super) struct Pumping(JoinHandle<()>);

impl Drop for Pumping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why the destination's agent answered, where it did. Others who say so are not believed.
fn reason_of(headers: &mut http::HeaderMap, believed: bool) -> Option<Reason> {
    if !believed {
        headers.remove(REASON);
        return None;
    }
    Reason::of_name(headers.get(REASON)?.to_str().ok()?)
}
