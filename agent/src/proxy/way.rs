//! How an endpoint is reached: on this node, through a tunnel, or as if there were no mesh.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use tokio::time::Instant;

use super::{pods::LocalPod, worker::Worker};
use crate::{
    model::{
        limits::{ENROLMENT_GRACE, HBONE_PORT},
        pod::Workload,
        service::Endpoint,
        snapshot::Snapshot,
    },
    transport::hbone::pool::PoolKey,
};

pub(super) enum Way {
    /// The tunnel's port of a captured pod, which is its agent's.
    Denied,
    /// A captured pod of this node: no wire, so no TLS.
    SameNode(Rc<LocalPod>),
    /// A captured pod of another node.
    Tunnel,
    Plain,
}

pub(super) const DENIED: &str = "port 15008 of a captured pod is its agent's";

/// The way to an endpoint, and who has its address.
pub(super) fn to(
    worker: &Worker,
    snapshot: &Snapshot,
    endpoint: Endpoint,
) -> (Way, Option<Arc<Workload>>) {
    let Some(workload) = snapshot.workload_by_ip(endpoint.address) else {
        return (Way::Plain, None);
    };
    let way = if workload.enrolled && endpoint.port == HBONE_PORT {
        Way::Denied
    } else if let Some(pod) = worker.local_pod(endpoint.address) {
        Way::SameNode(pod)
    } else if workload.tunnelled() {
        Way::Tunnel
    } else {
        Way::Plain
    };
    (way, Some(Arc::clone(workload)))
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
