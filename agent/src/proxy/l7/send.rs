//! Sending a request to one of a service's endpoints, whichever way it is reached.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, Response};
use hyper::body::Body as _;
use tokio::time::{Instant, sleep};

use super::{
    answer::{REASON, Refusal, UNPROCESSED},
    balance::InFlight,
    body::{Body, Keep},
    fallback::Storing,
    inbound,
    outbound::Outbound,
    outgoing::Outgoing,
    pipeline::{Exchange, Target},
    pool::Key,
    retry::is_endpoints_fault,
    semantics,
    upgrade::Upgraded,
    upstream::{self, By, Upstream},
};
use crate::{
    model::{
        names::ObjectName,
        pod::Workload,
        service::{Endpoint, ServiceState},
    },
    proxy::{
        pods::LocalPod,
        services::{Inside, Trial, View},
        way::{self, Way},
    },
    telemetry::{Reason, SecurityPolicy},
    traffic::{breaker::Outcome, deadline},
};

/// Between two tries of a tunnel port that refuses while its pod's enrolment is fresh.
const REFUSED_BACKOFF: Duration = Duration::from_millis(50);

/// An endpoint's answer, or its agent's.
pub(super) struct Sent {
    pub(super) response: Response<Body>,
    pub(super) endpoint: Endpoint,
    pub(super) keep: Keep,
    pub(super) becomes: Option<Upgraded>,
    pub(super) load: InFlight,
    /// The destination's agent answered in the application's place.
    pub(super) failed: Option<Failed>,
    /// Whether the answer was good shows at its end.
    pub(super) trial: Option<Trial>,
    /// Kept, once it is whole, for when the service fails.
    pub(super) storing: Option<Box<Storing>>,
    /// Counts it among the requests to its service.
    pub(super) under_way: Option<Inside>,
}

impl Sent {
    /// gRPC's outcome, where the head says it already.
    pub(super) fn grpc_status(&self) -> Option<u16> {
        grpc_status(self.response.headers())
    }

    /// Tells the breaker, or leaves that to the answer's end.
    pub(super) fn judge(&mut self, target: &Target, trial: Trial) {
        let agents_word = self.failed.map(|failed| is_endpoints_fault(failed.reason));
        let is_error = agents_word.unwrap_or_else(|| {
            let status = self.response.status();
            let view = target.view.as_ref();
            view.is_some_and(|view| view.is_error(status, self.grpc_status()))
        });
        if is_error {
            trial.ended(Outcome::Error);
        } else if agents_word.is_some() {
            // It speaks of the caller or of its load, not of the endpoint's health.
            drop(trial);
        } else if trial.is_probe() || self.response.body().is_end_stream() || self.becomes.is_some()
        {
            trial.ended(Outcome::Success);
        } else {
            self.trial = Some(trial);
        }
    }
}

pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// What the destination's agent says in the application's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) reason: Reason,
    /// The application has processed nothing.
    pub(super) unprocessed: bool,
}

struct Answered {
    response: Response<Body>,
    keep: Keep,
    becomes: Option<Upgraded>,
    failed: Option<Failed>,
}

/// One try at one endpoint.
pub(super) async fn to(
    exchange: &mut Exchange,
    target: &Target,
    endpoint: Endpoint,
) -> Result<Sent, Refusal> {
    if exchange.grpc
        && let Some(deadline) = exchange.deadline
    {
        let left = deadline.saturating_duration_since(Instant::now());
        deadline::write_grpc(&mut exchange.request.head.headers, left);
    }
    let mut load = exchange.cx.worker.balancer.begin(endpoint);
    let answered = to_endpoint(exchange, target, endpoint, &mut load).await?;
    load.answered();
    Ok(Sent {
        response: answered.response,
        endpoint,
        keep: answered.keep,
        becomes: answered.becomes,
        failed: answered.failed,
        load,
        trial: None,
        storing: None,
        under_way: None,
    })
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
            view: target.view.as_ref(),
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
    view: Option<&'a Arc<View>>,
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
        let delivered = Box::pin(inbound.deliver(self.request, self.view)).await?;
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
            view: self.view,
            by: By::Tcp {
                net: &*cx.pod.net,
                shown_as: None,
                seed: None,
            },
        };
        self.over(upstream, false).await
    }

    /// HTTP within CONNECT: any peer of HBONE understands it. The stream stays for the next
    /// request, so that CONNECT costs nothing where there is traffic.
    async fn tunnel(&mut self, destination: &Workload) -> Result<Answered, Refusal> {
        let cx = Rc::clone(self.cx);
        let upstream = Upstream {
            worker: &cx.worker,
            key: self.key(Some((
                Arc::clone(&destination.pod.uid),
                self.service.map(|service| service.service.name.clone()),
            ))),
            version: self.request.version,
            view: self.view,
            by: By::Tunnel {
                source: &cx.pod,
                client: cx.client,
                service: self.service,
                destination,
            },
        };
        self.over(upstream, true).await
    }

    fn key(&self, through: Option<(Arc<str>, Option<ObjectName>)>) -> Key {
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
        let failed = failed_of(&mut head.headers, believed);
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
}

/// Why the destination's agent answered, where it did. Others who say so are not believed.
fn failed_of(headers: &mut HeaderMap, believed: bool) -> Option<Failed> {
    let unprocessed = headers.remove(UNPROCESSED).is_some();
    if !believed {
        headers.remove(REASON);
        return None;
    }
    let reason = Reason::of_name(headers.get(REASON)?.to_str().ok()?)?;
    Some(Failed {
        reason,
        unprocessed,
    })
}
