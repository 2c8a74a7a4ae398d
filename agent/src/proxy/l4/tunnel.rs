//! A peer's tunnel into a captured pod.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};

use http::StatusCode;
use tokio::{net::TcpStream, task::spawn_local};
use tracing::debug;

use super::inbound::{self, Ends, Found};
use crate::{
    model::{
        limits::HBONE_PORT, protocol::Protocol, service::ServiceState, snapshot::Snapshot,
        spiffe::SpiffeId,
    },
    proxy::{l7::wire::Stream, pods::LocalPod, worker::Worker},
    telemetry::{ConnectionInfo, Direction, Reason, Reporter, SecurityPolicy, TlsSide},
    transport::{
        copy::TunnelIo,
        dial::{dial, reset_on_close},
        hbone::{
            io::TunnelStream,
            server::{self, Authority, Incoming, Wanted},
        },
        limits::{CONNECT_TIMEOUT, INBOUND_TUNNELS_MAX},
        tls,
    },
};

/// Shakes hands with a peer's agent and serves its streams until the tunnel ends, the pod is gone,
/// or the thread has drained.
pub(super) async fn serve(
    worker: Rc<Worker>,
    pod: Rc<LocalPod>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    if !worker.may_shake_hands() {
        return reset_on_close(&stream);
    }
    let handshake = {
        let _counted = Counted::new(&worker.handshakes);
        tls::accept(stream, &pod.identity.current()).await
    };
    let (stream, identity) = match handshake {
        Ok(accepted) => accepted,
        Err(error) => {
            worker
                .metrics
                .tls_handshake_failed(TlsSide::Server, error.failure.as_str());
            debug!(%peer, pod = %pod.workload().pod.name, %error, "no tunnel");
            return;
        }
    };
    if worker.inbound_tunnels.get() >= INBOUND_TUNNELS_MAX {
        return worker.metrics.limit_reached("inbound_tunnels");
    }
    let _counted = Counted::new(&worker.inbound_tunnels);
    let _active = worker.metrics.hbone_connection(Direction::Inbound);
    let peer = Rc::new(Peer {
        address: peer,
        identity,
    });
    let handle = |incoming| {
        let (worker, pod, peer) = (Rc::clone(&worker), Rc::clone(&pod), Rc::clone(&peer));
        spawn_local(stream_in(worker, pod, peer, incoming));
    };
    tokio::select! {
        ended = server::serve(stream, handle, worker.drained()) => {
            if let Err(error) = ended {
                debug!(peer = %peer.address, %error, "a tunnel ended");
            }
        }
        () = pod.gone() => {}
    }
}

/// The other end of a tunnel, as TLS has proven it.
pub(super) struct Peer {
    address: SocketAddr,
    identity: SpiffeId,
}

/// One CONNECT: to the application, or no.
pub(super) async fn stream_in(
    worker: Rc<Worker>,
    pod: Rc<LocalPod>,
    peer: Rc<Peer>,
    incoming: Incoming,
) {
    // In a box: what dialling takes is given back before the connection idles for hours.
    if let Some(found) = Box::pin(establish(&worker, &pod, &peer, incoming)).await {
        inbound::serve_found(worker, found).await;
    }
}

async fn establish(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    peer: &Peer,
    incoming: Incoming,
) -> Option<Found> {
    let snapshot = worker.snapshot();
    let Some(destination) = destination(&snapshot, pod, incoming.wanted()) else {
        debug!(peer = %peer.address, wanted = ?incoming.wanted(), "not an address of this pod");
        incoming.refuse(StatusCode::BAD_REQUEST);
        return None;
    };
    let peers = peers(pod, peer, incoming.wanted(), &snapshot, destination);
    let record = worker.telemetry.begin(peers);
    drop(snapshot);
    let Some(registered) = worker.register(pod, None) else {
        incoming.refuse(StatusCode::SERVICE_UNAVAILABLE);
        record.finish(Reason::LimitReached, Some("connections".into()));
        return None;
    };
    let at = record.info().destination_address;
    let guards = worker.guarded.of(worker, at);
    let limited = guards.and_then(|guards| guards.limit_opaque(worker, record.info()));
    if limited.is_some_and(|limited| limited.is_err()) {
        incoming.refuse(StatusCode::TOO_MANY_REQUESTS);
        record.finish(Reason::RateLimited, None);
        return None;
    }
    let client = record.info().source_address;
    let up = match dial(&*pod.net, destination, Some(client), CONNECT_TIMEOUT).await {
        Ok(up) => up,
        Err(error) => {
            incoming.refuse(StatusCode::SERVICE_UNAVAILABLE);
            record.finish(error.reason(), Some(error.to_string().into()));
            return None;
        }
    };
    let io = match incoming.accept(pod.baggage().as_ref()) {
        Ok((send, recv)) => TunnelIo::new(send, recv),
        Err(error) => {
            reset_on_close(&up);
            record.finish(Reason::DownstreamReset, Some(error.to_string().into()));
            return None;
        }
    };
    let service = record.info().service.as_ref();
    let said = service.map_or(Protocol::Unknown, |s| s.protocol_at(destination.port()));
    let ends = Ends {
        client: Stream::Tunnel(Box::new(TunnelStream::new(io, None))),
        up,
        record,
        registered,
        rate_asked: limited.is_some(),
    };
    inbound::find_out(worker, pod, ends, said).await
}

/// Who speaks to whom, as far as it is proven.
fn peers(
    pod: &LocalPod,
    peer: &Peer,
    wanted: &Wanted,
    snapshot: &Snapshot,
    destination: SocketAddr,
) -> ConnectionInfo {
    // The TCP peer is the client pod itself; what the header says counts if it agrees.
    let forwarded = &wanted.forwarded;
    let client = match forwarded.client {
        Some(client) if client.ip() == peer.address.ip() => client,
        _ => peer.address,
    };
    let mut info = ConnectionInfo::new(Reporter::Destination, client, destination);
    info.source = snapshot
        .workload_by_ip(client.ip())
        .filter(|workload| workload.identity == peer.identity)
        .cloned();
    info.source_principal = Some(peer.identity.clone());
    info.destination_principal = Some(pod.identity.identity().clone());
    info.destination = Some(pod.workload());
    info.service = forwarded
        .host
        .as_deref()
        .and_then(|host| service(snapshot, host));
    info.security = SecurityPolicy::MutualTls;
    info
}

/// The application's address, if it is this pod's and not the agent's own.
fn destination(snapshot: &Snapshot, pod: &LocalPod, wanted: &Wanted) -> Option<SocketAddr> {
    let address = match &wanted.authority {
        Authority::Address(address) => *address,
        Authority::Service { host, port } => {
            let service = service(snapshot, host)?;
            let (_, set) = service.endpoints_of_port(*port)?;
            let own = set
                .endpoints
                .iter()
                .find(|endpoint| pod.has_address(endpoint.address))?;
            SocketAddr::new(own.address, own.port)
        }
    };
    let ours = pod.has_address(address.ip());
    (ours && !matches!(address.port(), 0 | HBONE_PORT)).then_some(address)
}

/// `NAME.NAMESPACE.svc.DOMAIN`.
fn service(snapshot: &Snapshot, host: &str) -> Option<Arc<ServiceState>> {
    let mut labels = host.split('.');
    let (name, namespace) = (labels.next()?, labels.next()?);
    labels.next().filter(|label| *label == "svc")?;
    let name = crate::model::names::ObjectName::new(namespace, name);
    snapshot.service(&name).cloned()
}

/// Counts as long as it lives.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(cell: &'a Cell<usize>) -> Self {
        cell.set(cell.get() + 1);
        Self(cell)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
