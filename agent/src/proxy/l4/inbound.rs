//! A connection reached a captured pod.

use std::{net::SocketAddr, rc::Rc};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{Accepted, answer_probe, tunnel};
use crate::{
    model::{limits::HBONE_PORT, protocol::Protocol},
    proxy::{
        guarded::Guards,
        l7::{
            self,
            detect::{self, First},
            inbound::Inbound,
            wire::{Speaks, Stream, Wire},
        },
        pods::LocalPod,
        registry::Registered,
        worker::Worker,
    },
    telemetry::{ConnectionInfo, ConnectionRecord, Reason, Reporter},
    transport::{
        copy::{self, SocketSide},
        dial::{dial, reset_on_close, tune},
        limits::CONNECT_TIMEOUT,
    },
};

pub(in crate::proxy) async fn serve(worker: Rc<Worker>, pod: Rc<LocalPod>, accepted: Accepted) {
    let Accepted { stream, peer } = accepted;
    // sk_lookup rewrites nothing: the socket's own address is the original destination.
    let Ok(destination) = stream.local_addr() else {
        return;
    };
    tune(&stream);
    if destination.port() != HBONE_PORT {
        return plaintext(worker, pod, stream, peer, destination).await;
    }
    if peer.ip() == destination.ip() {
        // Only the agent's own probe dials this from inside the pod.
        return answer_probe(stream, &pod.token).await;
    }
    // In a box: a tunnel's state would make every plaintext connection as large.
    Box::pin(tunnel::serve(worker, pod, stream, peer)).await;
}

/// A peer without mutual TLS: let in as far as PeerAuthentication says.
async fn plaintext(
    worker: Rc<Worker>,
    pod: Rc<LocalPod>,
    stream: TcpStream,
    peer: SocketAddr,
    destination: SocketAddr,
) {
    // In a box: what finding out takes is given back before the connection idles for hours.
    if let Some(found) = Box::pin(let_in(&worker, &pod, stream, peer, destination)).await {
        serve_found(worker, found).await;
    }
}

async fn let_in(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    stream: TcpStream,
    peer: SocketAddr,
    destination: SocketAddr,
) -> Option<Found> {
    let snapshot = worker.snapshot();
    let workload = pod.workload();
    let mut info = ConnectionInfo::new(Reporter::Destination, peer, destination);
    info.source = snapshot.workload_by_ip(peer.ip()).cloned();
    info.destination = Some(workload.clone());
    let record = worker.telemetry.begin(info);

    if !snapshot
        .mtls_mode(&workload, destination.port())
        .allows_plaintext()
    {
        reset_on_close(&stream);
        let detail = "the pod is STRICT and the peer does not speak mutual TLS";
        record.finish(Reason::PlaintextRefused, Some(detail.into()));
        return None;
    }
    drop(snapshot);
    let judged_by = Some((workload, destination.port()));
    let Some(registered) = worker.register(pod, judged_by) else {
        reset_on_close(&stream);
        record.finish(Reason::LimitReached, Some("connections".into()));
        return None;
    };
    let at = record.info().destination_address;
    let guards = worker.guarded.of(worker, at);
    let limited = guards.and_then(|guards| guards.limit_opaque(worker, record.info()));
    if limited.is_some_and(|limited| limited.is_err()) {
        reset_on_close(&stream);
        record.finish(Reason::RateLimited, None);
        return None;
    }
    match dial(&*pod.net, destination, Some(peer), CONNECT_TIMEOUT).await {
        Ok(up) => {
            let ends = Ends {
                client: Stream::Tcp(stream),
                up,
                record,
                registered,
                rate_asked: limited.is_some(),
            };
            find_out(worker, pod, ends, Protocol::Unknown).await
        }
        Err(error) => {
            reset_on_close(&stream);
            record.finish(error.reason(), Some(error.to_string().into()));
            None
        }
    }
}

/// A connection, or a peer's stream, whose application is reached.
pub(super) struct Ends {
    pub(super) client: Stream,
    pub(super) up: TcpStream,
    pub(super) record: ConnectionRecord,
    pub(super) registered: Registered,
    /// Its rate limit has counted it.
    pub(super) rate_asked: bool,
}

/// What it turned out to carry.
pub(super) enum Found {
    Bytes(Box<Ends>),
    Http(Box<Http>),
}

pub(super) struct Http {
    inbound: Rc<Inbound>,
    wire: Wire,
    speaks: Speaks,
    registered: Registered,
}

/// Waits for the first byte of either end, unless it is said what comes.
pub(super) async fn find_out(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    ends: Ends,
    said: Protocol,
) -> Option<Found> {
    let Ends {
        client,
        mut up,
        mut record,
        registered,
        rate_asked,
    } = ends;
    let mut client = Wire::new(client, Bytes::new());
    let mut buffer = BytesMut::new();
    let first = match said {
        Protocol::Tcp => Ok(First::Opaque),
        said => {
            let supervision = &registered.supervision;
            detect::of_either(&mut client, &up, &mut buffer, said.is_http(), supervision).await
        }
    };
    let client = client.into_stream();
    let speaks = match first {
        Ok(First::Http1) => Speaks::Http1,
        Ok(First::Http2) => Speaks::Http2,
        Ok(First::Tls(_) | First::Opaque) => {
            let at = record.info().destination_address;
            let guards = worker.guarded.of(worker, at).filter(|_| !rate_asked);
            let over = |guards: Guards| guards.limit_rate(worker, record.info(), None).is_err();
            if guards.is_some_and(over) {
                client.reset();
                reset_on_close(&up);
                record.finish(Reason::RateLimited, None);
                return None;
            }
            record.established();
            record.received(buffer.len() as u64);
            if !buffer.is_empty() {
                // What is wrong with it shows when it is copied.
                let _ = up.write_all(&buffer).await;
            }
            return Some(Found::Bytes(Box::new(Ends {
                client,
                up,
                record,
                registered,
                rate_asked,
            })));
        }
        Err(reason) => {
            client.reset();
            reset_on_close(&up);
            record.established();
            record.finish(reason, None);
            return None;
        }
    };
    let peers = record.dismiss();
    let inbound = Inbound::new(Rc::clone(worker), Rc::clone(pod), peers, Some(up));
    Some(Found::Http(Box::new(Http {
        inbound: Rc::new(inbound),
        wire: Wire::new(client, buffer.freeze()),
        speaks,
        registered,
    })))
}

pub(super) async fn serve_found(worker: Rc<Worker>, found: Found) {
    match found {
        Found::Bytes(ends) => carry(ends).await,
        Found::Http(http) => {
            let Http {
                inbound,
                wire,
                speaks,
                registered,
            } = *http;
            Box::pin(l7::serve::serve(worker, inbound, wire, speaks, registered)).await;
        }
    }
}

async fn carry(mut ends: Box<Ends>) {
    let Ends {
        client,
        up,
        record,
        registered,
        ..
    } = &mut *ends;
    let supervision = &registered.supervision;
    let reason = match client {
        Stream::Tcp(stream) => copy::between_sockets(stream, up, record, supervision).await,
        Stream::Tunnel(stream) => {
            let side = SocketSide::Server;
            copy::with_tunnel(up, stream.io(), side, record, supervision).await
        }
    };
    ends.record.finish(reason, None);
}
