//! How an endpoint is reached from a captured pod: on its node, through a tunnel, or as if there
//! were no mesh.

use crate::model::{limits::HBONE_PORT, pod::Workload};

/// `P` is what the caller knows of a captured pod of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<P> {
    /// The tunnel's port of a captured pod, which is its agent's.
    Denied,
    /// A captured pod of this node: no wire, so no TLS.
    SameNode(P),
    /// A captured pod of another node.
    Tunnel,
    Plain,
}

/// The way to `port` of the pod that has the endpoint's address. `captured_here` finds it among
/// the captured pods of the client's node.
pub fn to<P>(
    workload: Option<&Workload>,
    port: u16,
    captured_here: impl FnOnce() -> Option<P>,
) -> Way<P> {
    let Some(workload) = workload else {
        return Way::Plain;
    };
    if workload.enrolled && port == HBONE_PORT {
        Way::Denied
    } else if let Some(pod) = captured_here() {
        Way::SameNode(pod)
    } else if workload.tunnelled() {
        Way::Tunnel
    } else {
        Way::Plain
    }
}
