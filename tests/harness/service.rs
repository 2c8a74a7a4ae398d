//! Services of a mesh.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    fabric::Fabric,
    manifests::{self, Endpoint, Port},
    mesh::{Mesh, NAMESPACE},
    pod::Pod,
};

/// A Service to be.
pub struct ServiceBuilder<'a> {
    mesh: &'a Mesh,
    name: String,
    namespace: String,
    ports: Vec<Port>,
}

impl<'a> ServiceBuilder<'a> {
    pub(crate) fn new(mesh: &'a Mesh, name: &str) -> Self {
        Self {
            mesh,
            name: name.to_owned(),
            namespace: NAMESPACE.to_owned(),
            ports: Vec::new(),
        }
    }

    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// A port that says what it speaks, as `appProtocol`.
    #[must_use]
    pub fn port(self, port: u16, target: u16, app_protocol: &str) -> Self {
        self.any_port(&format!("port-{port}"), port, target, Some(app_protocol))
    }

    /// A port of which nothing is known but what its name says: `http-web` something, `web` nothing.
    #[must_use]
    pub fn named_port(self, name: &str, port: u16, target: u16) -> Self {
        self.any_port(name, port, target, None)
    }

    fn any_port(mut self, name: &str, port: u16, target: u16, app_protocol: Option<&str>) -> Self {
        self.ports.push(Port {
            name: name.to_owned(),
            port,
            target,
            app_protocol: app_protocol.map(str::to_owned),
        });
        self
    }

    /// Makes it, with all of these pods behind it, over IPv4 and IPv6.
    pub fn of(self, pods: &[&Pod]) -> ServiceHandle {
        let number = self.mesh.next_service();
        let port = self.ports.first().map_or(0, |port| port.port);
        let v4 = Ipv4Addr::new(10, 96, 0, number.to_be_bytes()[1]);
        let v6 = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number);
        let service = ServiceHandle {
            name: self.name,
            namespace: self.namespace,
            v4: SocketAddr::new(v4.into(), port),
            v6: SocketAddr::new(v6.into(), port),
            ports: self.ports,
            fabric: Arc::clone(self.mesh.fabric()),
        };
        self.mesh.apply(&service.manifest());
        service.set_pods(pods);
        service
    }
}

/// A Service, and how to change what is behind it. `v4` and `v6` are its first port.
pub struct ServiceHandle {
    pub name: String,
    pub namespace: String,
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    ports: Vec<Port>,
    fabric: Arc<Fabric>,
}

impl ServiceHandle {
    /// Another port of it.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.v4.ip(), port)
    }

    pub fn manifest(&self) -> Value {
        let vips = [self.v4.ip(), self.v6.ip()];
        manifests::service(&self.namespace, &self.name, &vips, &self.ports)
    }

    pub fn set_pods(&self, pods: &[&Pod]) {
        let endpoints: Vec<_> = pods.iter().flat_map(|pod| pod.endpoints()).collect();
        self.set_endpoints(&endpoints);
    }

    /// Any addresses, also of nobody.
    pub fn set_endpoints(&self, endpoints: &[Endpoint]) {
        for ipv6 in [false, true] {
            let slice = manifests::endpoint_slice(
                &self.namespace,
                &self.name,
                &self.ports,
                ipv6,
                endpoints,
            );
            self.fabric.manifests.apply(&slice);
        }
    }
}
