//! Services of a mesh.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    fabric::Fabric,
    manifests::{self, Endpoint},
    mesh::NAMESPACE,
    pod::Pod,
};

/// A Service, and how to change what is behind it.
pub struct ServiceHandle {
    pub name: String,
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) fabric: Arc<Fabric>,
}

impl ServiceHandle {
    pub fn set_pods(&self, pods: &[&Pod]) {
        let endpoints: Vec<_> = pods.iter().flat_map(|pod| pod.endpoints()).collect();
        self.set_endpoints(&endpoints);
    }

    /// Any addresses, also of nobody.
    pub fn set_endpoints(&self, endpoints: &[Endpoint]) {
        for ipv6 in [false, true] {
            let slice =
                manifests::endpoint_slice(NAMESPACE, &self.name, &self.ports, ipv6, endpoints);
            self.fabric.manifests.apply(&slice);
        }
    }
}
