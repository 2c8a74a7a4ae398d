//! Services and their endpoints.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    names::ObjectName,
    protocol::Protocol,
    traffic_policy::{Locality, Policy},
};

/// A Service, reduced to what the mesh needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: ObjectName,
    /// `clusterIPs`; empty for a headless service.
    pub vips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    /// `trafficDistribution`; a policy's own `loadBalancer.locality` comes before it.
    pub distribution: Locality,
    /// `internalTrafficPolicy: Local`: only endpoints of the client's node.
    pub node_local: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where the service has one port without a name.
    pub name: Arc<str>,
    pub port: u16,
    pub app_protocol: Option<Arc<str>>,
}

/// An EndpointSlice, reduced to what the mesh needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub name: ObjectName,
    /// The label `kubernetes.io/service-name`, in the slice's own namespace.
    pub service: Arc<str>,
    /// Port name → port of every endpoint of this slice.
    pub ports: Vec<(Arc<str>, u16)>,
    pub endpoints: Vec<SliceEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub address: IpAddr,
    pub conditions: Conditions,
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
}

/// EndpointSlice conditions; an absent `ready` or `serving` counts as true (Kubernetes API).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

/// A Service with its endpoints, one set per service port.
#[derive(Debug)]
pub struct ServiceState {
    pub service: Arc<Service>,
    /// In the order of `service.ports`.
    pub endpoints: Vec<Arc<EndpointSet>>,
    /// What the TrafficPolicies on this service say together.
    pub policy: Option<Arc<Policy>>,
}

/// Where a connection to one port of a service can go.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Ready ones first; of the rest only those that still serve while terminating. Of both, IPv4
    /// before IPv6.
    pub endpoints: Vec<Endpoint>,
    /// How many of `endpoints`, from the front, are ready.
    pub ready: usize,
    /// In the order of `endpoints`; empty where nothing is known of any.
    pub places: Vec<Place>,
    /// Round robin. Kept when the set is rebuilt, so that a change does not start anew.
    pub next: Arc<AtomicUsize>,
}

/// Where an endpoint is, and its share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
    /// `weir.dev/weight` of the pod of the service's own namespace that has the address, 0 to [`WEIGHT_MAX`]; `None`: [`WEIGHT`].
    pub weight: Option<u16>,
}

/// What an endpoint weighs whose pod says nothing.
pub const WEIGHT: u16 = 100;
pub const WEIGHT_MAX: u16 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl ServiceState {
    /// The endpoints behind `port` of the service's own address.
    pub fn endpoints_of_port(&self, port: u16) -> Option<(&ServicePort, &Arc<EndpointSet>)> {
        self.service
            .ports
            .iter()
            .zip(&self.endpoints)
            .find(|(service_port, _)| service_port.port == port)
    }
}

impl ServiceState {
    /// Whether its policy limits what reaches its pods.
    pub fn is_limited(&self) -> bool {
        let policy = self.policy.as_ref();
        policy.is_some_and(|policy| !policy.rate_limits.is_empty() || policy.concurrency.is_some())
    }

    /// What is said of the protocol that endpoints speak at `port` of their own.
    pub fn protocol_at(&self, port: u16) -> Protocol {
        let mut ports = self.service.ports.iter().zip(&self.endpoints);
        let behind = ports.find(|(_, set)| set.endpoints.iter().any(|e| e.port == port));
        behind.map_or(Protocol::Unknown, |(port, _)| Protocol::of(port))
    }
}

impl EndpointSet {
    /// One address that was dialled itself.
    pub fn of_address(address: SocketAddr) -> Self {
        let endpoint = Endpoint {
            address: address.ip(),
            port: address.port(),
        };
        Self {
            endpoints: vec![endpoint],
            ready: 1,
            places: Vec::new(),
            next: Arc::default(),
        }
    }

    /// What may be dialled by a client that dialled an address of this family: the ready ones, or
    /// while none is, those that still serve (kube-proxy's rule, KEP-1669). An application then
    /// sees its client's own address; where the family has none, the other one's are better than
    /// nothing.
    pub fn usable(&self, ipv6: bool) -> &[Endpoint] {
        &self.endpoints[self.usable_range(ipv6)]
    }

    /// The same, as a part of `endpoints`.
    pub fn usable_range(&self, ipv6: bool) -> Range<usize> {
        let (ready, draining) = self.endpoints.split_at(self.ready);
        let of_family = |from: usize, endpoints: &[Endpoint]| {
            let at = endpoints.partition_point(|endpoint| !endpoint.address.is_ipv6());
            match ipv6 {
                true => from + at..from + endpoints.len(),
                false => from..from + at,
            }
        };
        [
            of_family(0, ready),
            of_family(self.ready, draining),
            0..self.ready,
            self.ready..self.endpoints.len(),
        ]
        .into_iter()
        .find(|endpoints| !endpoints.is_empty())
        .unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

impl EndpointSet {
    /// Up to `count` different usable endpoints, beginning with whose turn it is.
    pub fn round_robin(&self, ipv6: bool, count: usize) -> Vec<Endpoint> {
        let usable = self.usable(ipv6);
        if usable.is_empty() {
            return Vec::new();
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..usable.len().min(count)).map(|i| usable[(turn + i) % usable.len()]);
        in_turn.collect()
    }
}
