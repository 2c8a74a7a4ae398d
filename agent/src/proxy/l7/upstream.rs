//! One request to one upstream: an application of this node, or an endpoint outside the mesh.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    answer::Refusal,
    body::Body,
    expect::GoOn,
    outgoing::Outgoing,
    pool::{Bound, Key, Lease, Unanswered, Version},
    semantics::Become,
    wire::{Stream, Wire},
};
use crate::{
    model::{pod::Workload, seams::PodNet, service::ServiceState},
    proxy::{pods::LocalPod, services::View, way, worker::Worker},
    telemetry::{PoolLimit, Reason},
    transport::{
        dial::{DialError, dial},
        hbone::{
            client::{Connect, TunnelError},
            forwarded::Forwarded,
            io::TunnelStream,
        },
        limits::CONNECT_TIMEOUT,
    },
};

/// Between two looks of a request that waits for a connection, at most.
const RECHECK: Duration = Duration::from_millis(5);
/// Warm connections that may turn out dead before a fresh one decides.
const STALE_MAX: usize = 3;

/// Where requests go, and by which connections.
pub(super) struct Upstream<'a> {
    pub(super) worker: &'a Worker,
    pub(super) key: Key,
    pub(super) version: Version,
    /// The service, whose `connections` bound what is open.
    pub(super) view: Option<&'a Arc<View>>,
    pub(super) by: By<'a>,
}

/// What comes of asking for one more connection.
enum Admitted {
    Warm(Lease),
    MayDial(Option<Bound>),
}

/// How a fresh connection is made.
pub(super) enum By<'a> {
    /// From within a pod; an application of that same pod sees `shown_as`.
    Tcp {
        net: &'a dyn PodNet,
        shown_as: Option<SocketAddr>,
        /// Made already, for this very request.
        seed: Option<tokio::net::TcpStream>,
    },
    /// CONNECT, to a captured pod of another node.
    Tunnel {
        source: &'a LocalPod,
        client: SocketAddr,
        service: Option<&'a Arc<ServiceState>>,
        destination: &'a Workload,
    },
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub(super) enum Unreachable {
    Dial(DialError),
    Tunnel(TunnelError),
    Limit,
    /// `timeouts.connect`, of a tunnel and the dial at its end.
    Timeout,
    /// The service has as many connections as it may, and as many requests wait for one.
    PoolFull,
    Protocol(hyper::Error),
}

impl From<Unreachable> for Refusal {
    fn from(error: Unreachable) -> Self {
        match error {
            Unreachable::Dial(error) => Self::new(error.reason(), error.to_string()),
            Unreachable::Tunnel(error) => Self::new(error.reason(), error.to_string()),
            Unreachable::PoolFull => {
                Self::new(Reason::PoolFull, "too many requests wait for a connection")
            }
            Unreachable::Timeout => Self::new(Reason::ConnectTimeout, "no connection in time"),
            Unreachable::Limit => Self::new(Reason::LimitReached, "connections to upstreams"),
            Unreachable::Protocol(error) => Self::new(Reason::UpstreamProtocol, error.to_string()),
        }
    }
}

impl Upstream<'_> {
    /// A warm connection, else a fresh one.
    pub(super) async fn connect(&mut self) -> Result<Lease, Unreachable> {
        if !self.has_seed()
            && let Some(lease) = self.worker.upstreams.take(&self.key, self.version)
        {
            return Ok(lease);
        }
        // In a box: what dialling takes is not carried by every request.
        Box::pin(self.fresh()).await
    }

    async fn fresh(&mut self) -> Result<Lease, Unreachable> {
        let upstreams = &self.worker.upstreams;
        if self.version == Version::Http1 {
            let bound = match self.admitted().await? {
                Admitted::Warm(lease) => return Ok(lease),
                Admitted::MayDial(bound) => bound,
            };
            let stream = self.dial().await?;
            let added = upstreams.add_http1(&self.key, stream, bound).await;
            return added.map_err(Unreachable::Protocol);
        }
        loop {
            match upstreams.dial_turn(&self.key) {
                Ok(turn) => {
                    let bound = match self.admitted().await? {
                        Admitted::Warm(lease) => return Ok(lease),
                        Admitted::MayDial(bound) => bound,
                    };
                    let stream = self.dial().await?;
                    let added = upstreams.add_http2(&turn, stream, bound).await;
                    return added.map_err(Unreachable::Protocol);
                }
                Err(other) => other.notified().await,
            }
            if let Some(lease) = upstreams.take(&self.key, self.version) {
                return Ok(lease);
            }
        }
    }

    /// `connections.max` and `connections.pending`: a place for one more connection to the
    /// service, or one that has become free meanwhile.
    async fn admitted(&self) -> Result<Admitted, Unreachable> {
        let Some(view) = self.view else {
            return Ok(Admitted::MayDial(None));
        };
        let bounds = view.bounds();
        let connections = &view.live.connections;
        let bound = |inside| Some(Bound::new(view, inside));
        if let Some(inside) = connections.try_enter(bounds.connections) {
            return Ok(Admitted::MayDial(bound(inside)));
        }
        let _waiting = connections.queue(bounds.pending).map_err(|_full| {
            view.hub.metrics.pool_overflow(match bounds.pending {
                0 => PoolLimit::Connections,
                _ => PoolLimit::Pending,
            });
            Unreachable::PoolFull
        })?;
        let upstreams = &self.worker.upstreams;
        let freed = upstreams.wait_for(&self.key);
        view.hub.wanted.notify_waiters();
        loop {
            // Listens first: what is freed between a look and the wait must be heard.
            let (mut here, mut anywhere) =
                (pin!(freed.notified()), pin!(connections.somebody_leaves()));
            here.as_mut().enable();
            anywhere.as_mut().enable();
            if let Some(lease) = upstreams.take(&self.key, self.version) {
                return Ok(Admitted::Warm(lease));
            }
            if let Some(inside) = connections.try_enter(bounds.connections) {
                return Ok(Admitted::MayDial(bound(inside)));
            }
            tokio::select! {
                () = here => {}
                () = anywhere => {}
                // One that was given back may be busy with its answer's end for a moment.
                () = sleep(RECHECK) => {}
            }
        }
    }

    fn has_seed(&self) -> bool {
        matches!(&self.by, By::Tcp { seed: Some(_), .. })
    }

    async fn dial(&mut self) -> Result<Stream, Unreachable> {
        let limit = self
            .view
            .map_or(CONNECT_TIMEOUT, |view| view.connect_timeout());
        match &self.by {
            // The tunnel's own limits are longer: they tell what is wrong with it.
            By::Tunnel { .. } if limit != CONNECT_TIMEOUT => {
                let dialled = timeout(limit, self.dial_within(limit)).await;
                dialled.unwrap_or(Err(Unreachable::Timeout))
            }
            _ => self.dial_within(limit).await,
        }
    }

    async fn dial_within(&mut self, limit: Duration) -> Result<Stream, Unreachable> {
        self.worker
            .upstreams
            .may_dial()
            .map_err(|_full| Unreachable::Limit)?;
        match &mut self.by {
            By::Tcp {
                net,
                shown_as,
                seed,
            } => match seed.take() {
                Some(stream) => Ok(Stream::Tcp(stream)),
                None => dial(*net, self.key.to, *shown_as, limit)
                    .await
                    .map(Stream::Tcp)
                    .map_err(Unreachable::Dial),
            },
            By::Tunnel {
                source,
                client,
                service,
                destination,
            } => {
                let key = way::pool_key(source, self.key.to, destination);
                let baggage = source.baggage();
                let wanted = Connect {
                    destination: self.key.to,
                    forwarded: Forwarded {
                        client: Some(*client),
                        host: service.map(|service| self.worker.host_name(service)),
                    },
                    baggage: baggage.as_ref(),
                };
                let opened = self
                    .worker
                    .pool
                    .open(&key, &source.dialler(), &wanted)
                    .await;
                let opened = opened.map_err(Unreachable::Tunnel)?;
                let stream = TunnelStream::new(opened.io, Some(opened.held));
                Ok(Stream::Tunnel(Box::new(stream)))
            }
        }
    }

    /// Sends a request over `lease`. A warm connection may have died unnoticed: then another is
    /// taken, as long as nothing of the request was sent, or sending it twice is harmless
    /// (RFC 9110 §9.2.2).
    pub(super) async fn send(
        &mut self,
        lease: Lease,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Lease), Refusal> {
        let asked = request.headers().contains_key(header::UPGRADE);
        let (response, lease) = self.send_until_answered(lease, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !asked {
            let detail = "101 to a request that asked for no upgrade";
            return Err(Refusal::new(Reason::UpstreamProtocol, detail));
        }
        Ok((response, lease))
    }

    async fn send_until_answered(
        &mut self,
        mut lease: Lease,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Lease), Refusal> {
        for _ in 0..STALE_MAX {
            if !lease.is_reused() {
                break;
            }
            let (head, body) = request.into_parts();
            let again =
                Outgoing::copy(&head, &body).map(|head| Request::from_parts(head, Body::Empty));
            request = Request::from_parts(head, body);
            let Unanswered {
                error,
                request: unsent,
            } = match lease.send(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(unanswered) => unanswered,
            };
            let went_away =
                error.is_incomplete_message() || error.is_closed() || error.is_canceled();
            lease = match (unsent, again) {
                (Some(unsent), _) => {
                    request = unsent;
                    self.connect().await?
                }
                // Sent once, it is sent a second time at most: over one that cannot be stale.
                (None, Some(again)) if went_away || is_reset(&error) => {
                    request = again;
                    self.worker.upstreams.close_idle(&self.key);
                    Box::pin(self.fresh()).await?
                }
                (None, _) => return Err(refusal(&error)),
            };
        }
        match lease.send(request).await {
            Ok(response) => Ok((response, lease)),
            Err(unanswered) => Err(refusal(&unanswered.error)),
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|io| {
            matches!(
                io.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )
        })
}

fn refusal(error: &hyper::Error) -> Refusal {
    let reason = if error.is_parse() {
        Reason::UpstreamProtocol
    } else {
        Reason::UpstreamReset
    };
    let mut refusal = Refusal::new(reason, error.to_string());
    refusal.unprocessed = is_refused_stream(error);
    refusal
}

fn is_refused_stream(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Puts back what an upgrade or CONNECT needs on this hop.
pub(super) fn ask_to_become(becomes: Option<&Become>, request: &mut Request<Body>) {
    if let Some(Become::Upgrade(to)) = becomes {
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, to.clone());
    }
}

/// Whether the upstream agreed.
pub(super) fn became(becomes: Option<&Become>, status: StatusCode) -> bool {
    match becomes {
        Some(Become::Upgrade(_)) => status == StatusCode::SWITCHING_PROTOCOLS,
        Some(Become::Tunnel) => status.is_success(),
        None => false,
    }
}

/// The upstream's connection after [`became`].
pub(super) async fn take_over(lease: &Lease) -> Result<(Wire, Bytes), Refusal> {
    let gone = || {
        Refusal::new(
            Reason::UpstreamReset,
            "the connection ended with its upgrade",
        )
    };
    lease.upgraded().await.ok_or_else(gone)
}

/// Hears when the application wants the body. HTTP/2 applications are not waited for: hyper does
/// not tell what they say before their answer.
pub(super) fn listen(go_on: Option<&GoOn>, version: Version, request: &mut Request<Body>) {
    match (go_on, version) {
        (Some(go_on), Version::Http1) => go_on.listen_to(request),
        (Some(go_on), Version::Http2) => go_on.say(),
        (None, _) => {}
    }
}
