//! A connection reached a captured pod.

use std::{net::SocketAddr, rc::Rc};

use tokio::net::TcpStream;

use super::{Accepted, answer_probe, tunnel};
use crate::{
    model::limits::HBONE_PORT,
    proxy::{pods::LocalPod, worker::Worker},
    telemetry::{ConnectionInfo, Reason, Reporter},
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
    mut stream: TcpStream,
    peer: SocketAddr,
    destination: SocketAddr,
) {
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
        return record.finish(Reason::PlaintextRefused, Some(detail.into()));
    }
    let judged_by = Some((workload, destination.port()));
    let Some(registered) = worker.register(&pod, judged_by) else {
        reset_on_close(&stream);
        return record.finish(Reason::LimitReached, Some("connections".into()));
    };
    drop(snapshot);
    let dialled = Box::pin(dial(&*pod.net, destination, Some(peer), CONNECT_TIMEOUT)).await;
    match dialled {
        Ok(mut up) => {
            record.established();
            let supervision = &registered.supervision;
            let reason = copy::between_sockets(&mut stream, &mut up, &record, supervision).await;
            record.finish(reason, None);
        }
        Err(error) => {
            reset_on_close(&stream);
            record.finish(error.reason(), Some(error.to_string().into()));
        }
    }
}
