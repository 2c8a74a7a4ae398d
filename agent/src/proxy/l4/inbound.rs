//! A connection reached a captured pod.

use std::{net::SocketAddr, rc::Rc};

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{Accepted, answer_probe, tunnel};
use crate::{
    model::limits::HBONE_PORT,
    proxy::{
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
        copy,
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
    let found = Box::pin(find_out(&worker, &pod, stream, peer, destination)).await;
    match found {
        None => {}
        Some(Found::Bytes(carried)) => {
            let Carried {
                mut stream,
                mut up,
                record,
                registered,
            } = *carried;
            let supervision = &registered.supervision;
            let reason = copy::between_sockets(&mut stream, &mut up, &record, supervision).await;
            record.finish(reason, None);
        }
        Some(Found::Http(http)) => {
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

enum Found {
    Bytes(Box<Carried>),
    Http(Box<Http>),
}

/// Opaque bytes.
struct Carried {
    stream: TcpStream,
    up: TcpStream,
    record: ConnectionRecord,
    registered: Registered,
}

pub(super) struct Http {
    pub(super) inbound: Rc<Inbound>,
    pub(super) wire: Wire,
    pub(super) speaks: Speaks,
    pub(super) registered: Registered,
}

async fn find_out(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    mut stream: TcpStream,
    peer: SocketAddr,
    destination: SocketAddr,
) -> Option<Found> {
    let snapshot = worker.snapshot();
    let workload = pod.workload();
    let mut info = ConnectionInfo::new(Reporter::Destination, peer, destination);
    info.source = snapshot.workload_by_ip(peer.ip()).cloned();
    info.destination = Some(workload.clone());
    let mut record = worker.telemetry.begin(info);

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
    let mut up = match dial(&*pod.net, destination, Some(peer), CONNECT_TIMEOUT).await {
        Ok(up) => up,
        Err(error) => {
            reset_on_close(&stream);
            record.finish(error.reason(), Some(error.to_string().into()));
            return None;
        }
    };
    let mut buffer = BytesMut::new();
    let first = detect::of_either(&mut stream, &up, &mut buffer, &registered.supervision).await;
    let speaks = match first {
        Ok(First::Http1) => Speaks::Http1,
        Ok(First::Http2) => Speaks::Http2,
        Ok(First::Tls(_) | First::Opaque) => {
            record.established();
            record.received(buffer.len() as u64);
            // What is wrong with it shows when it is copied.
            let _ = up.write_all(&buffer).await;
            return Some(Found::Bytes(Box::new(Carried {
                stream,
                up,
                record,
                registered,
            })));
        }
        Err(reason) => {
            reset_on_close(&stream);
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
        wire: Wire::new(Stream::Tcp(stream), buffer.freeze()),
        speaks,
        registered,
    })))
}
