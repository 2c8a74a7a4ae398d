//! A captured pod's application dialled.

use std::{net::SocketAddr, os::fd::AsFd as _, rc::Rc, sync::Arc};

use tokio::net::TcpStream;

use super::{
    Accepted, answer_probe,
    endpoint::{self, Attempt, Failure, Upstream},
};
use crate::{
    model::{
        seams::Dialled,
        service::{Endpoint, ServiceState},
        snapshot::Snapshot,
    },
    proxy::{pods::LocalPod, registry::Registered, worker::Worker},
    telemetry::{ConnectionInfo, ConnectionRecord, Reason, Reporter, SecurityPolicy},
    transport::{
        copy::{self, SocketSide},
        dial::reset_on_close,
    },
};

/// Endpoints that are tried before the application hears of a failure.
const ENDPOINTS_TRIED_MAX: usize = 3;

pub(in crate::proxy) async fn serve(worker: Rc<Worker>, pod: Rc<LocalPod>, accepted: Accepted) {
    // In a box: what dialling takes is given back before the connection idles for hours.
    let Some(mut carried) = Box::pin(establish(&worker, &pod, accepted)).await else {
        return;
    };
    let Carried {
        stream,
        upstream,
        record,
        registered,
    } = &mut carried;
    let supervision = &registered.supervision;
    let reason = match upstream {
        Upstream::Tunnel(tunnel) => {
            let side = SocketSide::Client;
            copy::with_tunnel(stream, &mut tunnel.io, side, record, supervision).await
        }
        Upstream::Local(local) => {
            let meters = (&*record, &local.record);
            copy::between_sockets(stream, &mut local.stream, &meters, supervision).await
        }
        Upstream::Plain(up) => copy::between_sockets(stream, up, record, supervision).await,
    };
    if let Upstream::Local(local) = carried.upstream {
        local.record.finish(reason, None);
    }
    carried.record.finish(reason, None);
}

/// A connection whose both ends stand.
struct Carried {
    stream: TcpStream,
    upstream: Upstream,
    record: ConnectionRecord,
    registered: Registered,
}

/// Finds out what was dialled and reaches it; says no to the application where that fails.
async fn establish(worker: &Rc<Worker>, pod: &Rc<LocalPod>, accepted: Accepted) -> Option<Carried> {
    let Accepted { stream, peer } = accepted;
    let dialled = match worker.shared.original_dst.original_dst(stream.as_fd()) {
        Ok(Dialled::Address(address)) => address,
        Ok(Dialled::Probe) => {
            answer_probe(stream, &pod.token).await;
            return None;
        }
        Err(error) => {
            let own = stream.local_addr().unwrap_or(peer);
            let info = ConnectionInfo::new(Reporter::Source, peer, own);
            let record = worker.telemetry.begin(info);
            return refuse(
                &stream,
                record,
                Failure::new(Reason::NoOriginalDestination, error.to_string()),
            );
        }
    };
    let mut record = begin(worker, pod, peer, dialled);
    let Some(registered) = worker.register(pod, None) else {
        return refuse(
            &stream,
            record,
            Failure::new(Reason::LimitReached, "connections"),
        );
    };
    let found = candidates(&worker.snapshot(), dialled, &mut record);
    let reached = match found {
        Ok(candidates) => connect(worker, pod, &candidates, &mut record).await,
        Err(failure) => Err(failure),
    };
    match reached {
        Ok(upstream) => {
            describe(&mut record, &upstream);
            record.established();
            Some(Carried {
                stream,
                upstream,
                record,
                registered,
            })
        }
        Err(failure) => refuse(&stream, record, failure),
    }
}

/// What protects the bytes, and so whose word counts for the source.
fn describe(record: &mut ConnectionRecord, upstream: &Upstream) {
    match upstream {
        Upstream::Tunnel(_) => record.info_mut().security = SecurityPolicy::MutualTls,
        Upstream::Local(_) => {}
        Upstream::Plain(_) => record.info_mut().source_principal = None,
    }
}

fn begin(
    worker: &Worker,
    pod: &LocalPod,
    client: SocketAddr,
    dialled: SocketAddr,
) -> ConnectionRecord {
    let workload = pod.workload();
    let mut info = ConnectionInfo::new(Reporter::Source, client, dialled);
    info.source_principal = Some(workload.identity.clone());
    info.source = Some(workload);
    worker.telemetry.begin(info)
}

/// Where the connection can go, the best first: round robin over a service's endpoints, or the one
/// address that was dialled.
fn candidates(
    snapshot: &Snapshot,
    dialled: SocketAddr,
    record: &mut ConnectionRecord,
) -> Result<Vec<Endpoint>, Failure> {
    let Some(service) = snapshot.service_by_vip(dialled.ip()) else {
        return Ok(vec![Endpoint {
            address: dialled.ip(),
            port: dialled.port(),
        }]);
    };
    record.info_mut().service = Some(Arc::clone(service));
    endpoints(service, dialled.port())
}

fn endpoints(service: &Arc<ServiceState>, port: u16) -> Result<Vec<Endpoint>, Failure> {
    let Some((_, set)) = service.endpoints_of_port(port) else {
        return Err(Failure::new(
            Reason::NoSuchPort,
            format!("service {} has no port {port}", service.service.name),
        ));
    };
    let chosen = set.round_robin(ENDPOINTS_TRIED_MAX);
    if chosen.is_empty() {
        return Err(Failure::new(
            Reason::NoHealthyEndpoint,
            format!("service {} has no endpoint", service.service.name),
        ));
    }
    Ok(chosen)
}

/// The first candidate that stands. No byte of the application has been read yet, so that trying
/// another is always safe.
async fn connect(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    candidates: &[Endpoint],
    record: &mut ConnectionRecord,
) -> Result<Upstream, Failure> {
    let mut last = Failure::new(Reason::NoHealthyEndpoint, "there is none");
    for candidate in candidates {
        let attempt = Attempt {
            worker,
            source: pod,
            client: record.info().source_address,
            dialled: record.info().original_destination,
            service: record.info().service.clone(),
            endpoint: *candidate,
        };
        let outcome = endpoint::connect(&attempt).await;
        let info = record.info_mut();
        info.destination_address = SocketAddr::new(candidate.address, candidate.port);
        info.destination.clone_from(&outcome.destination);
        info.destination_principal = match &outcome.upstream {
            Ok(Upstream::Plain(_)) | Err(_) => None,
            Ok(_) => outcome
                .destination
                .as_ref()
                .map(|workload| workload.identity.clone()),
        };
        match outcome.upstream {
            Ok(upstream) => return Ok(upstream),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// Says no as the kernel would: with a reset.
fn refuse(stream: &TcpStream, record: ConnectionRecord, failure: Failure) -> Option<Carried> {
    reset_on_close(stream);
    record.finish(failure.reason, Some(failure.detail));
    None
}
