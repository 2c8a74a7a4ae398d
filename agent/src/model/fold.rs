//! Folds changes into snapshots: the one writer of the model.
//!
//! Every derived index of a [`Snapshot`] is kept right step by step, at a cost in proportion to
//! the change: a pod touches its own addresses, a slice its service, a Namespace label the pods
//! of that namespace. What several changes of one delta touch is derived once, at its end.

mod claims;
mod headless;
mod identities;
mod pods;
mod policies;
mod routes;
mod services;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use self::{
    claims::Claims,
    headless::Headless,
    identities::Identities,
    policies::{Policies, TargetKey},
    routes::{Routes, TouchedRoutes},
};
use super::{
    mesh::MeshConfig,
    names::{self, ObjectName},
    pod::Namespace,
    policy::{NamespacePolicies, PeerAuthentication},
    resource::{Change, Delta, Kind, Resource, ResourceKey},
    route::RouteKind,
    snapshot::{Destination, Snapshot},
};

/// Turns [`Delta`]s into [`Snapshot`]s.
#[derive(Debug)]
pub struct Fold {
    /// The agent's node: its pods are [`Snapshot::local`].
    node: Arc<str>,
    /// The state after the last delta.
    state: Snapshot,
    identities: Identities,
    pod_ips: Claims,
    vips: Claims,
    /// Slice → the service it belonged to when last seen, in the slice's own namespace.
    slice_services: HashMap<ObjectName, Arc<str>>,
    mesh_configs: BTreeMap<ObjectName, Arc<MeshConfig>>,
    routes: Routes,
    policies: Policies,
    headless: Headless,
    /// Addresses of pods that have a weight, with the pods' namespaces.
    weights: HashMap<IpAddr, (Arc<str>, u16)>,
}

/// What one delta has touched and is derived anew at its end.
#[derive(Default)]
struct Touched {
    namespaces: BTreeSet<Arc<str>>,
    services: BTreeSet<ObjectName>,
    /// Namespaces whose policies changed.
    policies: BTreeSet<Arc<str>>,
    routes: TouchedRoutes,
    /// Whose TrafficPolicies changed.
    policy_targets: BTreeSet<TargetKey>,
    /// Namespaces and addresses of pods whose weight changed.
    weights: BTreeSet<(Arc<str>, IpAddr)>,
    mesh: bool,
}

impl Fold {
    /// `trust_domain` has been validated by [`super::spiffe::is_trust_domain`].
    pub fn new(trust_domain: impl Into<Arc<str>>, node: impl Into<Arc<str>>) -> Self {
        Self {
            node: node.into(),
            state: Snapshot::default(),
            identities: Identities::new(trust_domain.into()),
            pod_ips: Claims::default(),
            vips: Claims::default(),
            slice_services: HashMap::new(),
            mesh_configs: BTreeMap::new(),
            routes: Routes::default(),
            policies: Policies::default(),
            headless: Headless::default(),
            weights: HashMap::new(),
        }
    }

    /// Applies the whole of `delta` and gives the state after it.
    pub fn apply(&mut self, delta: Delta, now: Instant) -> Arc<Snapshot> {
        let mut touched = Touched::default();
        // Namespaces first: a pod of the same delta then finds the label that it will live with.
        for change in &delta.changes {
            self.apply_namespace(change, &mut touched);
        }
        for change in delta.changes {
            match change {
                Change::Upsert(key, resource) => self.upsert(key.name, resource, &mut touched, now),
                Change::Remove(key) => self.remove(&key, &mut touched),
            }
        }
        self.derive(touched, now);
        self.state.generation += 1;
        self.state.rejected = delta.rejected;
        Arc::new(self.state.clone())
    }

    fn apply_namespace(&mut self, change: &Change, touched: &mut Touched) {
        let (name, namespace): (&Arc<str>, Option<&Arc<Namespace>>) = match change {
            Change::Upsert(key, Resource::Namespace(namespace)) => {
                (&key.name.name, Some(namespace))
            }
            Change::Remove(key) if key.kind == Kind::Namespace => (&key.name.name, None),
            Change::Upsert(..) | Change::Remove(_) => return,
        };
        let old = match namespace {
            Some(new) => self
                .state
                .namespaces
                .insert(Arc::clone(name), Arc::clone(new)),
            None => self.state.namespaces.remove(name),
        };
        if old.and_then(|old| old.mesh) != namespace.and_then(|new| new.mesh) {
            touched.namespaces.insert(Arc::clone(name));
        }
    }

    fn upsert(
        &mut self,
        name: ObjectName,
        resource: Resource,
        touched: &mut Touched,
        now: Instant,
    ) {
        match resource {
            Resource::Namespace(_) => {}
            Resource::Pod(pod) => self.upsert_pod(name, pod, touched, now),
            Resource::Service(service) => self.upsert_service(name, service, touched),
            Resource::EndpointSlice(slice) => self.upsert_slice(name, slice, touched),
            Resource::PeerAuthentication(policy) => {
                touched.policies.insert(Arc::clone(&name.namespace));
                self.state.peer_authentications.insert(name, policy);
            }
            Resource::MeshConfig(config) => {
                touched.mesh = true;
                self.mesh_configs.insert(name, config);
            }
            Resource::Route(route) => self.routes.upsert(route, &mut touched.routes),
            Resource::TrafficPolicy(policy) => {
                self.policies.upsert(policy, &mut touched.policy_targets);
            }
            Resource::Node(node) if node.name == self.node => {
                self.state.zone.clone_from(&node.zone);
            }
            Resource::Node(_) => {}
            Resource::ReferenceGrant(grant) => {
                self.routes.upsert_grant(grant, &mut touched.routes);
            }
        }
    }

    fn remove(&mut self, key: &ResourceKey, touched: &mut Touched) {
        let name = &key.name;
        match key.kind {
            Kind::Namespace => {}
            Kind::Pod => self.remove_pod(name, touched),
            Kind::Service => self.remove_service(name, touched),
            Kind::EndpointSlice => self.remove_slice(name, touched),
            Kind::PeerAuthentication => {
                touched.policies.insert(Arc::clone(&name.namespace));
                self.state.peer_authentications.remove(name);
            }
            Kind::MeshConfig => {
                touched.mesh = true;
                self.mesh_configs.remove(name);
            }
            Kind::HttpRoute => self.remove_route(RouteKind::Http, name, touched),
            Kind::GrpcRoute => self.remove_route(RouteKind::Grpc, name, touched),
            Kind::TcpRoute => self.remove_route(RouteKind::Tcp, name, touched),
            Kind::TlsRoute => self.remove_route(RouteKind::Tls, name, touched),
            Kind::TrafficPolicy => self.policies.remove(name, &mut touched.policy_targets),
            Kind::Node if name.name == self.node => self.state.zone = None,
            Kind::Node => {}
            Kind::ReferenceGrant => self.routes.remove_grant(name, &mut touched.routes),
        }
    }

    fn remove_route(&mut self, kind: RouteKind, name: &ObjectName, touched: &mut Touched) {
        let key = (kind, name.clone());
        self.routes.remove(&key, &mut touched.routes);
    }

    fn derive(&mut self, mut touched: Touched, now: Instant) {
        for namespace in &touched.namespaces {
            self.derive_enrolment(namespace, now);
        }
        self.derive_policy_targets(&mut touched);
        self.touch_weighed(&mut touched);
        for service in &touched.services {
            self.derive_service(service);
            self.derive_headless(service);
        }
        self.derive_routes(&mut touched);
        for namespace in touched.policies {
            self.derive_policies(namespace);
        }
        if touched.mesh {
            self.derive_mesh();
        }
    }

    fn derive_policies(&mut self, namespace: Arc<str>) {
        let policies: Vec<Arc<PeerAuthentication>> =
            names::of_namespace(&self.state.peer_authentications, &namespace)
                .map(|(_, p)| Arc::clone(p))
                .collect();
        if policies.is_empty() {
            self.state.policies.remove(&namespace);
        } else {
            let policies = NamespacePolicies::new(policies.into_iter());
            self.state.policies.insert(namespace, Arc::new(policies));
        }
    }

    fn derive_mesh(&mut self) {
        let age = |(name, config): &(&ObjectName, &Arc<MeshConfig>)| -> (bool, Option<SystemTime>, ObjectName) {
            (config.created.is_none(), config.created, (*name).clone())
        };
        let config = self
            .mesh_configs
            .iter()
            .min_by_key(age)
            .map(|(_, config)| Arc::clone(config));
        self.state.mesh = config.unwrap_or_default();
    }

    /// A service's address stays the service's, also where a pod claims it.
    fn derive_destination(&mut self, ip: IpAddr) {
        let enrolled = || {
            self.state
                .workloads_by_ip
                .get(&ip)
                .is_some_and(|workload| workload.enrolled)
        };
        let wanted = if self.state.services_by_vip.contains_key(&ip) {
            Some(Destination::Service)
        } else if enrolled() {
            Some(Destination::Pod)
        } else {
            None
        };
        // Only real changes are written: writing copies a path of the shared tree.
        if self.state.destinations.get(&ip).copied() == wanted {
            return;
        }
        match wanted {
            Some(destination) => self.state.destinations.insert(ip, destination),
            None => self.state.destinations.remove(&ip),
        };
    }
}

#[cfg(test)]
pub(crate) mod tests;
