//! A captured pod's application dialled.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, sync::Arc};

use std::os::fd::AsFd as _;

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
    let Accepted { stream, peer } = accepted;
    let dialled = match worker.shared.original_dst.original_dst(stream.as_fd()) {
        Ok(Dialled::Address(address)) => address,
        Ok(Dialled::Probe) => return answer_probe(stream, &pod.token).await,
        Err(error) => {
            let own = stream.local_addr().unwrap_or(peer);
            let record = worker
                .telemetry
                .begin(ConnectionInfo::new(Reporter::Source, peer, own));
            return refuse(
                stream,
                record,
                Reason::NoOriginalDestination,
                error.to_string(),
            );
        }
    };
    let mut record = begin(&worker, &pod, peer, dialled);
    let Some(registered) = worker.register(&pod, None) else {
        return refuse(stream, record, Reason::LimitReached, "connections");
    };
    let snapshot = worker.snapshot();
    let candidates = match candidates(&snapshot, dialled, &mut record) {
        Ok(candidates) => candidates,
        Err(failure) => return refuse(stream, record, failure.reason, failure.detail),
    };
    drop(snapshot);
    match connect(&worker, &pod, &candidates, &mut record).await {
        Ok(upstream) => forward(stream, upstream, record, &registered).await,
        Err(failure) => refuse(stream, record, failure.reason, failure.detail),
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

async fn forward(
    stream: TcpStream,
    upstream: Upstream,
    mut record: ConnectionRecord,
    registered: &Registered,
) {
    let supervision = &registered.supervision;
    let reason = match upstream {
        Upstream::Tunnel(tunnel) => {
            record.info_mut().security = SecurityPolicy::MutualTls;
            record.established();
            let side = SocketSide::Client;
            let reason = copy::with_tunnel(stream, tunnel.io, side, &record, supervision).await;
            drop(tunnel.held);
            reason
        }
        Upstream::Local(local) => {
            record.established();
            let meters = (&record, &local.record);
            let reason = copy::between_sockets(stream, local.stream, &meters, supervision).await;
            local.record.finish(reason, None);
            reason
        }
        Upstream::Plain(up) => {
            record.info_mut().source_principal = None;
            record.established();
            copy::between_sockets(stream, up, &record, supervision).await
        }
    };
    record.finish(reason, None);
}

/// Says no as the kernel would: with a reset.
fn refuse(
    stream: TcpStream,
    record: ConnectionRecord,
    reason: Reason,
    detail: impl Into<Cow<'static, str>>,
) {
    reset_on_close(&stream);
    record.finish(reason, Some(detail.into()));
}
