//! What the data plane reads: one immutable, consistent state of the mesh.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use imbl::OrdMap;

use super::{
    mesh::MeshConfig,
    names::ObjectName,
    pod::{Namespace, Workload},
    policy::{MtlsMode, NamespacePolicies, PeerAuthentication},
    route::ServiceRoutes,
    service::{EndpointSlice, ServiceState},
    traffic_policy::{PolicyConflict, PolicyTarget},
};

/// One state of the mesh. Cloning shares everything; a new snapshot costs what changed.
///
/// Maps are ordered because imbl can then tell the difference of two versions in time
/// proportional to the change, which is how the BPF maps follow.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each applied delta.
    pub generation: u64,
    /// See [`super::resource::Delta::rejected`].
    pub rejected: usize,
    pub mesh: Arc<MeshConfig>,
    pub(super) namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    pub(super) workloads: OrdMap<ObjectName, Arc<Workload>>,
    pub(super) workloads_by_ip: OrdMap<IpAddr, Arc<Workload>>,
    /// Pods of this node, enrolled or not.
    pub(super) local: OrdMap<ObjectName, Arc<Workload>>,
    pub(super) services: OrdMap<ObjectName, Arc<ServiceState>>,
    pub(super) services_by_vip: OrdMap<IpAddr, Arc<ServiceState>>,
    /// Keyed by service, then by slice, so that a service's slices are one range.
    pub(super) slices: OrdMap<(ObjectName, Arc<str>), Arc<EndpointSlice>>,
    /// The zone of the agent's own node.
    pub zone: Option<Arc<str>>,
    /// Services that routes are attached to.
    pub(super) routes: OrdMap<ObjectName, Arc<ServiceRoutes>>,
    pub(super) destinations: OrdMap<IpAddr, Destination>,
    pub(super) peer_authentications: OrdMap<ObjectName, Arc<PeerAuthentication>>,
    /// Services whose policy limits what reaches their pods.
    pub(super) limited: OrdMap<ObjectName, Arc<ServiceState>>,
    pub(super) headless: OrdMap<IpAddr, Arc<ServiceState>>,
    /// By the target, and the namespace of it and its policies.
    pub(super) policy_conflicts: OrdMap<(Arc<str>, PolicyTarget), Arc<PolicyConflict>>,
    /// The same policies by namespace, in the order in which they are asked.
    pub(super) policies: OrdMap<Arc<str>, Arc<NamespacePolicies>>,
}

/// Why the kernel hands connections to an address to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Service,
    Pod,
}

impl Snapshot {
    pub fn workload(&self, name: &ObjectName) -> Option<&Arc<Workload>> {
        self.workloads.get(name)
    }

    /// The pod that has this address now; never a hostNetwork or finished one.
    pub fn workload_by_ip(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads_by_ip.get(&ip)
    }

    pub fn service(&self, name: &ObjectName) -> Option<&Arc<ServiceState>> {
        self.services.get(name)
    }

    pub fn service_by_vip(&self, ip: IpAddr) -> Option<&Arc<ServiceState>> {
        self.services_by_vip.get(&ip)
    }

    /// Addresses that are the mesh's business: service addresses and enrolled pods.
    pub fn destinations(&self) -> &OrdMap<IpAddr, Destination> {
        &self.destinations
    }

    /// Pods of this node, enrolled or not.
    pub fn local(&self) -> &OrdMap<ObjectName, Arc<Workload>> {
        &self.local
    }

    pub fn workloads(&self) -> &OrdMap<ObjectName, Arc<Workload>> {
        &self.workloads
    }

    pub fn services(&self) -> &OrdMap<ObjectName, Arc<ServiceState>> {
        &self.services
    }

    /// The routes that are attached to a service, if there are any.
    pub fn routes(&self, service: &ObjectName) -> Option<&Arc<ServiceRoutes>> {
        self.routes.get(service)
    }

    /// All services that routes are attached to.
    pub fn service_routes(&self) -> &OrdMap<ObjectName, Arc<ServiceRoutes>> {
        &self.routes
    }

    /// The labels of all routes that are attached to a service. Costs time in proportion to them.
    pub fn route_labels(&self) -> HashSet<Arc<str>> {
        let tables = self.routes.values().flat_map(|routes| routes.tables());
        tables
            .flat_map(|(_, _, table)| table.rules())
            .map(|rule| Arc::clone(&rule.route_label))
            .collect()
    }

    /// Services with a policy that limits requests or concurrency at the destination.
    pub fn limited_services(&self) -> &OrdMap<ObjectName, Arc<ServiceState>> {
        &self.limited
    }

    /// The headless service with a policy that the pod at `ip` is of; of several the first by
    /// name.
    pub fn headless_with_policy(&self, ip: IpAddr) -> Option<&Arc<ServiceState>> {
        self.headless.get(&ip)
    }

    /// Targets that several TrafficPolicies name, of which only the oldest counts.
    pub fn policy_conflicts(&self) -> &OrdMap<(Arc<str>, PolicyTarget), Arc<PolicyConflict>> {
        &self.policy_conflicts
    }

    /// Those that `old` did not have, or not so.
    pub fn policy_conflicts_since(&self, old: &Self) -> impl Iterator<Item = &PolicyConflict> {
        self.policy_conflicts
            .iter()
            .filter(|(target, conflict)| old.policy_conflicts.get(*target) != Some(*conflict))
            .map(|(_, conflict)| &**conflict)
    }

    pub fn namespaces(&self) -> &OrdMap<Arc<str>, Arc<Namespace>> {
        &self.namespaces
    }

    pub fn peer_authentications(&self) -> &OrdMap<ObjectName, Arc<PeerAuthentication>> {
        &self.peer_authentications
    }

    /// What `workload` demands of plaintext peers on `port`: port, then workload, then namespace,
    /// then mesh; of several policies on one level the oldest counts, then the name.
    pub fn mtls_mode(&self, workload: &Workload, port: u16) -> MtlsMode {
        super::policy::resolve(self, workload, port)
    }
}
