//! One request to one upstream: an application of this node, or an endpoint outside the mesh.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{
    answer::Refusal,
    body::Body,
    expect::GoOn,
    outgoing::Outgoing,
    pool::{Key, Lease, Unanswered, Version},
    semantics::Become,
    wire::{Stream, Wire},
};
use crate::{
    model::{pod::Workload, seams::PodNet, service::ServiceState},
    proxy::{pods::LocalPod, way, worker::Worker},
    telemetry::Reason,
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

/// Warm connections that may turn out dead before a fresh one decides.
const STALE_MAX: usize = 3;

/// Where requests go, and by which connections.
pub(super) struct Upstream<'a> {
    pub(super) worker: &'a Worker,
    pub(super) key: Key,
    pub(super) version: Version,
    pub(super) by: By<'a>,
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
    Protocol(hyper::Error),
}

impl From<Unreachable> for Refusal {
    fn from(error: Unreachable) -> Self {
        match error {
            Unreachable::Dial(error) => Self::new(error.reason(), error.to_string()),
            Unreachable::Tunnel(error) => Self::new(error.reason(), error.to_string()),
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
            let stream = self.dial().await?;
            let added = upstreams.add_http1(&self.key, stream).await;
            return added.map_err(Unreachable::Protocol);
        }
        loop {
            match upstreams.dial_turn(&self.key) {
                Ok(turn) => {
                    let stream = self.dial().await?;
                    let added = upstreams.add_http2(&turn, stream).await;
                    return added.map_err(Unreachable::Protocol);
                }
                Err(other) => other.notified().await,
            }
            if let Some(lease) = upstreams.take(&self.key, self.version) {
                return Ok(lease);
            }
        }
    }

    fn has_seed(&self) -> bool {
        matches!(&self.by, By::Tcp { seed: Some(_), .. })
    }

    async fn dial(&mut self) -> Result<Stream, Unreachable> {
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
                None => dial(*net, self.key.to, *shown_as, CONNECT_TIMEOUT)
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
            request = match (unsent, again) {
                (Some(unsent), _) => unsent,
                (None, Some(again)) if went_away || is_reset(&error) => again,
                (None, _) => return Err(refusal(&error)),
            };
            lease = self.connect().await?;
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
    Refusal::new(reason, error.to_string())
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
