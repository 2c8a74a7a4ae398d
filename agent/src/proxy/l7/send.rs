//! Sending a request to one of a service's endpoints, whichever way it is reached.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use hyper::body::Body as _;
use tokio::{
    task::{JoinHandle, spawn_local},
    time::sleep,
};

use super::{
    answer::{REASON, Refusal},
    balance::InFlight,
    body::{Body, Keep},
    inbound::{self, Delivery, Inbound},
    peer,
    pipeline::{Exchange, Target},
    pool::{Key, Version},
    semantics::{self, Become},
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
            client::{Connect, Tunnel, TunnelError},
            forwarded::Forwarded,
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
/// Tunnels that may turn out dead before the request fails.
const STALE_TUNNELS_MAX: usize = 2;

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

/// A request as it is handed from one endpoint to the next.
struct Parcel {
    head: http::request::Parts,
    body: Body,
}

/// Why an endpoint did not answer.
struct Failed {
    refusal: Refusal,
    /// There, where another endpoint may get it.
    parcel: Option<Parcel>,
}

impl Failed {
    fn for_good(refusal: Refusal) -> Self {
        Self {
            refusal,
            parcel: None,
        }
    }
}

struct Answered {
    response: Response<Body>,
    keep: Keep,
    becomes: Option<Upgraded>,
    failed: Option<Reason>,
}

pub(super) async fn send(exchange: &mut Exchange, target: &Target) -> Result<Sent, Refusal> {
    let cx = Rc::clone(&exchange.cx);
    let mut parcel = Parcel {
        head: std::mem::replace(&mut exchange.head, Request::new(()).into_parts().0),
        body: std::mem::take(&mut exchange.body),
    };
    // What the answer's filters look at stays.
    if let Some(origin) = parcel.head.headers.get(http::header::ORIGIN) {
        let origin = origin.clone();
        exchange.head.headers.insert(http::header::ORIGIN, origin);
    }
    let mut tried: Vec<Endpoint> = Vec::new();
    let mut last = None;
    while tried.len() < ENDPOINTS_TRIED_MAX {
        let pinned = target.pinned.filter(|_| tried.is_empty());
        let chosen = pinned.or_else(|| cx.worker.balancer.choose(&target.endpoints, &tried));
        let Some(endpoint) = chosen else { break };
        let mut load = cx.worker.balancer.begin(endpoint);
        match to_endpoint(exchange, target, endpoint, parcel).await {
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
            Err(Failed {
                refusal,
                parcel: Some(unsent),
            }) => {
                parcel = unsent;
                last = Some(refusal);
                tried.push(endpoint);
            }
            Err(Failed { refusal, .. }) => return Err(refusal),
        }
    }
    Err(last.unwrap_or_else(|| Refusal::new(Reason::NoHealthyEndpoint, "there is none")))
}

async fn to_endpoint(
    exchange: &mut Exchange,
    target: &Target,
    endpoint: Endpoint,
    mut parcel: Parcel,
) -> Result<Answered, Failed> {
    loop {
        let (way, destination) = way::to(&exchange.cx.worker, &exchange.snapshot, endpoint);
        describe(exchange, target, endpoint, &way, destination.as_ref());
        let sending = Sending {
            exchange,
            target,
            endpoint,
            version: version(target, &parcel),
        };
        return match (way, &destination) {
            (Way::Denied, _) => Err(Failed::for_good(Refusal::new(
                Reason::PolicyDenied,
                way::DENIED,
            ))),
            (Way::SameNode(pod), _) => sending.same_node(&pod, parcel).await,
            (Way::Tunnel, Some(workload)) => match sending.tunnel(workload, parcel).await {
                // The other node's agent may not be there yet, or not any more: look again.
                Err(Failed {
                    refusal,
                    parcel: Some(unsent),
                }) if refusal.reason == Reason::TunnelRefused && way::is_fresh(workload) => {
                    parcel = unsent;
                    sleep(REFUSED_BACKOFF).await;
                    exchange.snapshot = exchange.cx.worker.snapshot();
                    continue;
                }
                outcome => outcome,
            },
            _ => sending.plain(parcel).await,
        };
    }
}

fn version(target: &Target, parcel: &Parcel) -> Version {
    if target.http2 {
        Version::Http2
    } else {
        inbound::version_of(&parcel.head)
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

struct Sending<'a> {
    exchange: &'a Exchange,
    target: &'a Target,
    endpoint: Endpoint,
    version: Version,
}

impl Sending<'_> {
    fn becomes(&self) -> Option<&Become> {
        self.exchange.becomes.as_ref()
    }

    fn service(&self) -> Option<&Arc<ServiceState>> {
        self.target.service.as_ref()
    }

    /// No wire: the destination's half is called.
    async fn same_node(&self, pod: &Rc<LocalPod>, parcel: Parcel) -> Result<Answered, Failed> {
        let cx = &self.exchange.cx;
        let generation = self.exchange.snapshot.generation;
        let inbound: Rc<Inbound> = cx.same_node(generation, pod, self.endpoint, self.service());
        let delivery = Delivery {
            head: parcel.head,
            body: parcel.body,
            becomes: self.becomes().cloned(),
            version: self.version,
        };
        match inbound.deliver(delivery).await {
            Ok(delivered) => Ok(Answered {
                response: delivered.response,
                keep: Keep::Nothing,
                becomes: delivered.becomes,
                failed: None,
            }),
            Err(undelivered) => Err(Failed {
                refusal: undelivered.refusal,
                parcel: undelivered.delivery.map(|delivery| Parcel {
                    head: delivery.head,
                    body: delivery.body,
                }),
            }),
        }
    }

    async fn plain(&self, parcel: Parcel) -> Result<Answered, Failed> {
        let cx = &self.exchange.cx;
        let upstream = Upstream {
            worker: &cx.worker,
            key: self.key(None),
            version: self.version,
            by: By::Tcp {
                net: &*cx.pod.net,
                shown_as: None,
                seed: None,
            },
        };
        self.over(upstream, parcel, false).await
    }

    fn key(&self, through: Option<Arc<str>>) -> Key {
        Key {
            pod: self.exchange.cx.pod.id,
            shown_as: None,
            to: Target::address(self.endpoint),
            through,
        }
    }

    /// HTTP over a connection of its own: a socket, or a CONNECT through a tunnel.
    async fn over(
        &self,
        mut upstream: Upstream<'_>,
        parcel: Parcel,
        believed: bool,
    ) -> Result<Answered, Failed> {
        let lease = match upstream.connect().await {
            Ok(lease) => lease,
            Err(error) => {
                return Err(Failed {
                    refusal: error.into(),
                    parcel: Some(parcel),
                });
            }
        };
        let request =
            inbound::to_application(parcel.head, parcel.body, self.becomes(), self.version);
        let (response, lease) = upstream
            .send(lease, request)
            .await
            .map_err(Failed::for_good)?;
        let (mut head, body) = response.into_parts();
        let failed = reason_of(&mut head.headers, believed);
        if upstream::became(self.becomes(), head.status) {
            let (upstream, read_ahead) = upstream::take_over(&lease)
                .await
                .map_err(Failed::for_good)?;
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
        semantics::strip_hop_by_hop(&mut head.headers);
        Ok(Answered {
            response: Response::from_parts(head, Body::of_request(body)),
            keep: Keep::Lease(lease),
            becomes: None,
            failed,
        })
    }

    async fn tunnel(&self, destination: &Workload, parcel: Parcel) -> Result<Answered, Failed> {
        let worker = &self.exchange.cx.worker;
        let key = way::pool_key(
            &self.exchange.cx.pod,
            Target::address(self.endpoint),
            destination,
        );
        let dialler = self.exchange.cx.pod.dialler();
        let as_request = worker.shared.http_over == HttpOver::Weir
            && self.becomes().is_none()
            && !(parcel.head.method == Method::OPTIONS && parcel.head.uri.path() == "*");
        let mut parcel = parcel;
        for _ in 0..STALE_TUNNELS_MAX {
            let tunnel = match worker.pool.tunnel(&key, &dialler).await {
                Ok((tunnel, _warm)) => tunnel,
                Err(error) => {
                    return Err(Failed {
                        refusal: refusal(&error),
                        parcel: Some(parcel),
                    });
                }
            };
            if !as_request || tunnel.wire() != TunnelWire::Weir {
                let believed = tunnel.wire() == TunnelWire::Weir;
                return self
                    .connect(key, dialler, destination, parcel, believed)
                    .await;
            }
            match self.request(&tunnel, parcel).await {
                Err(Failed {
                    parcel: Some(unsent),
                    ..
                }) => parcel = unsent,
                outcome => return outcome,
            }
        }
        let detail = "the tunnels to the peer's agent end as soon as they are used";
        Err(Failed {
            refusal: Refusal::new(Reason::TunnelReset, detail),
            parcel: Some(parcel),
        })
    }

    /// As bytes through a CONNECT: for peers that know no more, and for upgrades.
    async fn connect(
        &self,
        key: crate::transport::hbone::pool::PoolKey,
        dialler: crate::transport::hbone::pool::Dialler,
        destination: &Workload,
        parcel: Parcel,
        believed: bool,
    ) -> Result<Answered, Failed> {
        let cx = &self.exchange.cx;
        let baggage = cx.pod.baggage();
        let upstream = Upstream {
            worker: &cx.worker,
            key: self.key(Some(Arc::clone(&destination.pod.uid))),
            version: self.version,
            by: By::Tunnel {
                key,
                dialler,
                wanted: Connect {
                    destination: Target::address(self.endpoint),
                    forwarded: Forwarded {
                        client: Some(cx.client),
                        host: self.service().map(|service| cx.worker.host_name(service)),
                    },
                    baggage: baggage.as_ref(),
                },
            },
        };
        self.over(upstream, parcel, believed).await
    }

    /// As a stream of its own (`weir/1`).
    async fn request(&self, tunnel: &Rc<Tunnel>, parcel: Parcel) -> Result<Answered, Failed> {
        let cx = &self.exchange.cx;
        let generation = self.exchange.snapshot.generation;
        let again = copy(&parcel);
        let mut request = Request::from_parts(parcel.head, parcel.body);
        inbound::absolute_form(&mut request);
        let http2 = self.version == Version::Http2;
        peer::address(
            request.headers_mut(),
            cx.weir_to(generation, self.endpoint, http2),
            cx.forwarded(generation, self.service()),
        );
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        let metrics = &cx.worker.metrics;
        let mut opened = match tunnel
            .request(Request::from_parts(head, ()), ends, metrics)
            .await
        {
            Ok(opened) => opened,
            Err(error) => return Err(unanswered(tunnel, error, again)),
        };
        let pumping = (!ends).then(|| {
            let send = opened.send;
            Pumping(spawn_local(async move {
                // The answer tells how the request ended.
                let _ = pump(body, send).await;
            }))
        });
        match (&mut opened.response).await {
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
                Err(unanswered(tunnel, error, again))
            }
        }
    }
}

/// The request's body is sent as long as this lives.
pub(super) struct Pumping(JoinHandle<()>);

impl Drop for Pumping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn unanswered(tunnel: &Tunnel, error: RequestError, again: Option<Parcel>) -> Failed {
    if let RequestError::Http2(error) = &error {
        tunnel.note(error);
    }
    let reason = error.reason();
    // The connection went away under the request: its fate is unknown, so that only what may be
    // sent twice is.
    let parcel = again.filter(|_| reason != Reason::UpstreamReset || error.is_unprocessed());
    Failed {
        refusal: Refusal::new(reason, error.to_string()),
        parcel,
    }
}

/// A request without a body that may be sent twice (RFC 9110 §9.2.2).
fn copy(parcel: &Parcel) -> Option<Parcel> {
    let idempotent = matches!(
        parcel.head.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    );
    (idempotent && parcel.body.is_end_stream()).then(|| Parcel {
        head: parcel.head.clone(),
        body: Body::Empty,
    })
}

/// Why the destination's agent answered, where it did. Others who say so are not believed.
fn reason_of(headers: &mut http::HeaderMap, believed: bool) -> Option<Reason> {
    if !believed {
        headers.remove(REASON);
        return None;
    }
    let said = headers.get(REASON)?.to_str().ok()?;
    Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == said)
}

fn refusal(error: &TunnelError) -> Refusal {
    Refusal::new(error.reason(), error.to_string())
}
