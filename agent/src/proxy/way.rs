//! How an endpoint is reached: on this node, through a tunnel, or as if there were no mesh.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use tokio::time::Instant;

use super::{pods::LocalPod, worker::Worker};
use crate::{
    model::{limits::ENROLMENT_GRACE, pod::Workload, service::Endpoint, snapshot::Snapshot},
    traffic::way,
    transport::hbone::pool::PoolKey,
};

pub(super) type Way = way::Way<Rc<LocalPod>>;

pub(super) const DENIED: &str = "port 15008 of a captured pod is its agent's";

/// The way to an endpoint, and who has its address.
pub(super) fn to(
    worker: &Worker,
    snapshot: &Snapshot,
    endpoint: Endpoint,
) -> (Way, Option<Arc<Workload>>) {
    let workload = snapshot.workload_by_ip(endpoint.address);
    let captured_here = || worker.local_pod(endpoint.address);
    let way = way::to(workload.map(Arc::as_ref), endpoint.port, captured_here);
    (way, workload.cloned())
}

/// Whether another node's agent may not be there yet, or not any more.
pub(super) fn is_fresh(workload: &Workload) -> bool {
    let changed_at = Instant::from_std(workload.enrolment_changed_at);
    changed_at.elapsed() < ENROLMENT_GRACE
}

/// What tunnels from `source` to `destination` at `address` are shared for.
pub(super) fn pool_key(source: &LocalPod, address: SocketAddr, destination: &Workload) -> PoolKey {
    let source = source.workload();
    PoolKey {
        source: Arc::clone(&source.pod.uid),
        source_identity: source.identity.clone(),
        destination: address.ip(),
        destination_uid: Arc::clone(&destination.pod.uid),
        destination_identity: destination.identity.clone(),
    }
}
