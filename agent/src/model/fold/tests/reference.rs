//! The rules once more, as simply as can be: everything from scratch, nothing kept.

mod routes;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use self::routes::TableViews;
use crate::model::{
    names::ObjectName,
    pod::{MeshLabel, Pod, Workload},
    resource::{Change, Kind, Resource, ResourceKey},
    service::{Endpoint, Place, ServiceState},
    snapshot::{Destination, Snapshot},
    traffic_policy::{Policy, PolicyTarget, TrafficPolicy},
};

/// Every index of a snapshot, in a shape that can be compared and printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    workloads: BTreeMap<ObjectName, WorkloadView>,
    workloads_by_ip: BTreeMap<IpAddr, WorkloadView>,
    local: BTreeMap<ObjectName, WorkloadView>,
    services: BTreeMap<ObjectName, ServiceView>,
    services_by_vip: BTreeMap<IpAddr, ServiceView>,
    destinations: BTreeMap<IpAddr, bool>,
    policies: BTreeSet<ObjectName>,
    policies_by_namespace: BTreeSet<Arc<str>>,
    namespaces: BTreeSet<Arc<str>>,
    root_namespace: Arc<str>,
    routes: TableViews,
    limited: BTreeSet<ObjectName>,
    headless: BTreeMap<IpAddr, ObjectName>,
    /// Namespace, target, winner and losers.
    conflicts: BTreeSet<(Arc<str>, PolicyTarget, ObjectName, Vec<ObjectName>)>,
    zone: Option<Arc<str>>,
}

type WorkloadView = (Pod, String, bool);
/// Name, for each port the ready endpoints and the others, and the policy.
type ServiceView = (ObjectName, Vec<SetView>, Option<Policy>);
type SetView = (BTreeMap<Endpoint, Place>, BTreeMap<Endpoint, Place>);

impl From<&Snapshot> for View {
    fn from(snapshot: &Snapshot) -> Self {
        let workload = |w: &Arc<Workload>| (Pod::clone(&w.pod), w.identity.to_string(), w.enrolled);
        let service = |s: &Arc<ServiceState>| {
            let sets = s.endpoints.iter().map(|set| {
                let nowhere = vec![Place::default(); set.endpoints.len()];
                let places = match set.places.is_empty() {
                    true => &nowhere,
                    false => {
                        assert_ne!(set.places, nowhere);
                        &set.places
                    }
                };
                assert_eq!(places.len(), set.endpoints.len());
                let all = set.endpoints.iter().copied().zip(places.iter().cloned());
                let sets: SetView = (
                    all.clone().take(set.ready).collect(),
                    all.skip(set.ready).collect(),
                );
                assert_eq!(set.endpoints.len(), sets.0.len() + sets.1.len());
                sets
            });
            let policy = s.policy.as_deref().cloned();
            (s.service.name.clone(), sets.collect(), policy)
        };
        Self {
            workloads: snapshot
                .workloads
                .iter()
                .map(|(k, v)| (k.clone(), workload(v)))
                .collect(),
            workloads_by_ip: snapshot
                .workloads_by_ip
                .iter()
                .map(|(k, v)| (*k, workload(v)))
                .collect(),
            local: snapshot
                .local
                .iter()
                .map(|(k, v)| (k.clone(), workload(v)))
                .collect(),
            services: snapshot
                .services
                .iter()
                .map(|(k, v)| (k.clone(), service(v)))
                .collect(),
            services_by_vip: snapshot
                .services_by_vip
                .iter()
                .map(|(k, v)| (*k, service(v)))
                .collect(),
            destinations: snapshot
                .destinations
                .iter()
                .map(|(k, v)| (*k, *v == Destination::Service))
                .collect(),
            policies: snapshot.peer_authentications.keys().cloned().collect(),
            policies_by_namespace: snapshot.policies.keys().cloned().collect(),
            namespaces: snapshot.namespaces.keys().cloned().collect(),
            root_namespace: Arc::clone(&snapshot.mesh.root_namespace),
            routes: routes::view(snapshot),
            limited: snapshot.limited.keys().cloned().collect(),
            headless: snapshot
                .headless
                .iter()
                .map(|(ip, state)| (*ip, state.service.name.clone()))
                .collect(),
            conflicts: snapshot
                .policy_conflicts
                .iter()
                .map(|((namespace, target), conflict)| {
                    assert_eq!(*target, conflict.target);
                    let (winner, losers) = (conflict.winner.clone(), conflict.losers.clone());
                    (Arc::clone(namespace), target.clone(), winner, losers)
                })
                .collect(),
            zone: snapshot.zone.clone(),
        }
    }
}

/// The objects that there are, and since when each has claimed its addresses.
#[derive(Default)]
pub(super) struct Reference {
    objects: BTreeMap<ResourceKey, (Resource, u64)>,
    claims: u64,
}

impl Reference {
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Remove(key) => drop(self.objects.remove(key)),
                Change::Upsert(key, resource) => {
                    let same = self
                        .objects
                        .get(key)
                        .filter(|(old, _)| claim(old) == claim(resource));
                    let since = same.map_or(self.claims, |(_, since)| *since);
                    self.claims += 1;
                    self.objects.insert(key.clone(), (resource.clone(), since));
                }
            }
        }
    }

    /// What there is, in the order of the claims: the same world at once.
    pub(super) fn at_once(&self) -> Vec<Change> {
        let mut objects: Vec<_> = self.objects.iter().collect();
        objects.sort_by_key(|(_, (_, since))| *since);
        objects
            .into_iter()
            .map(|(key, (resource, _))| Change::Upsert(key.clone(), resource.clone()))
            .collect()
    }

    pub(super) fn view(&self, node: &str) -> View {
        let mut view = View {
            root_namespace: "weir-system".into(),
            ..View::default()
        };
        let mut by_claim: Vec<_> = self.objects.iter().collect();
        by_claim.sort_by_key(|(_, (_, since))| *since);
        let mut holders: BTreeMap<IpAddr, Arc<Pod>> = BTreeMap::new();
        for (_, (resource, _)) in &by_claim {
            if let Resource::Pod(pod) = resource {
                let ips = pod.own_ips().iter();
                holders.extend(ips.map(|ip| (*ip, Arc::clone(pod))));
            }
        }
        for (key, (resource, _)) in by_claim {
            let name = key.name.clone();
            match resource {
                Resource::Namespace(_) => drop(view.namespaces.insert(name.name)),
                Resource::PeerAuthentication(_) => {
                    view.policies_by_namespace
                        .insert(Arc::clone(&name.namespace));
                    view.policies.insert(name);
                }
                Resource::Pod(pod) => {
                    let workload = self.workload(pod);
                    view.workloads_by_ip
                        .extend(pod.own_ips().iter().map(|ip| (*ip, workload.clone())));
                    if &*pod.node == node {
                        view.local.insert(name.clone(), workload.clone());
                    }
                    view.workloads.insert(name, workload);
                }
                Resource::Service(service) => {
                    let state = (
                        name.clone(),
                        service
                            .ports
                            .iter()
                            .map(|p| self.endpoints(&name, &p.name, &holders))
                            .collect(),
                        self.policy(
                            &name.namespace,
                            &PolicyTarget::Service(Arc::clone(&name.name)),
                        ),
                    );
                    let policy: &Option<Policy> = &state.2;
                    if let Some(policy) = policy {
                        if policy.concurrency.is_some() || !policy.rate_limits.is_empty() {
                            view.limited.insert(name.clone());
                        }
                        for ip in self.slice_ips(&name).filter(|_| service.vips.is_empty()) {
                            let of = view.headless.entry(ip).or_insert_with(|| name.clone());
                            *of = name.clone().min(of.clone());
                        }
                    }
                    view.services_by_vip.extend(
                        service
                            .vips
                            .iter()
                            .map(|ip| (*ip, ServiceView::clone(&state))),
                    );
                    view.services.insert(name, state);
                }
                Resource::TrafficPolicy(policy) => {
                    for target in &policy.targets {
                        let mut losers = self.policies_on(&name.namespace, target);
                        let winner = losers.remove(0).name.clone();
                        let mut losers: Vec<_> = losers.iter().map(|l| l.name.clone()).collect();
                        losers.sort();
                        if !losers.is_empty() {
                            let namespace = Arc::clone(&name.namespace);
                            view.conflicts
                                .insert((namespace, target.clone(), winner, losers));
                        }
                    }
                }
                Resource::Node(of) if name.name.as_ref() == node => view.zone.clone_from(&of.zone),
                Resource::Node(_)
                | Resource::EndpointSlice(_)
                | Resource::MeshConfig(_)
                | Resource::Route(_)
                | Resource::ReferenceGrant(_) => {}
            }
        }
        let enrolled = view
            .workloads_by_ip
            .iter()
            .filter(|(_, (_, _, enrolled))| *enrolled);
        view.destinations = enrolled.map(|(ip, _)| (*ip, false)).collect();
        view.destinations
            .extend(view.services_by_vip.keys().map(|ip| (*ip, true)));
        let configs = self
            .objects
            .values()
            .filter_map(|(resource, _)| match resource {
                Resource::MeshConfig(config) => Some(config),
                _ => None,
            });
        if let Some(config) =
            configs.min_by_key(|config| (config.created.is_none(), config.created))
        {
            view.root_namespace = Arc::clone(&config.root_namespace);
        }
        view.routes = self.routes();
        view
    }

    fn workload(&self, pod: &Pod) -> WorkloadView {
        let namespace = ResourceKey {
            kind: Kind::Namespace,
            name: ObjectName::new("", Arc::clone(&pod.name.namespace)),
        };
        let of_namespace = match self.objects.get(&namespace) {
            Some((Resource::Namespace(namespace), _)) => namespace.mesh,
            _ => None,
        };
        let able = !pod.host_network && !pod.finished && !pod.foreign_sidecar;
        let enrolled = able && pod.mesh.or(of_namespace) == Some(MeshLabel::Enabled);
        let identity = format!(
            "spiffe://cluster.local/ns/{}/sa/{}",
            pod.name.namespace, pod.service_account
        );
        (pod.clone(), identity, enrolled)
    }

    /// The oldest first.
    fn policies_on(&self, namespace: &str, target: &PolicyTarget) -> Vec<&TrafficPolicy> {
        let all = self.objects.values();
        let mut on: Vec<&TrafficPolicy> = all
            .filter_map(|(resource, _)| match resource {
                Resource::TrafficPolicy(policy) => Some(&**policy),
                _ => None,
            })
            .filter(|policy| &*policy.name.namespace == namespace)
            .filter(|policy| policy.targets.contains(target))
            .collect();
        on.sort_by_key(|policy| policy.age());
        on
    }

    fn policy(&self, namespace: &str, target: &PolicyTarget) -> Option<Policy> {
        let on = self.policies_on(namespace, target);
        on.first().map(|policy| Policy::clone(&policy.policy))
    }

    fn slice_ips(&self, service: &ObjectName) -> impl Iterator<Item = IpAddr> {
        let slices = self
            .objects
            .values()
            .filter_map(|(resource, _)| match resource {
                Resource::EndpointSlice(slice) => Some(slice),
                _ => None,
            });
        slices
            .filter(|slice| {
                slice.name.namespace == service.namespace && slice.service == service.name
            })
            .flat_map(|slice| slice.endpoints.iter().map(|endpoint| endpoint.address))
    }

    fn endpoints(
        &self,
        service: &ObjectName,
        port: &str,
        holders: &BTreeMap<IpAddr, Arc<Pod>>,
    ) -> SetView {
        let (mut ready, mut draining) = (BTreeMap::new(), BTreeMap::new());
        for (resource, _) in self.objects.values() {
            let Resource::EndpointSlice(slice) = resource else {
                continue;
            };
            if slice.name.namespace != service.namespace || slice.service != service.name {
                continue;
            }
            for (_, number) in slice.ports.iter().filter(|(name, _)| &**name == port) {
                for endpoint in &slice.endpoints {
                    let conditions = endpoint.conditions;
                    let holder = holders.get(&endpoint.address);
                    let own = holder.filter(|pod| pod.name.namespace == service.namespace);
                    let place = Place {
                        node: endpoint.node.clone(),
                        zone: endpoint.zone.clone(),
                        weight: own.and_then(|pod| pod.weight),
                    };
                    let endpoint = Endpoint {
                        address: endpoint.address,
                        port: *number,
                    };
                    if conditions.ready {
                        ready.entry(endpoint).or_insert(place);
                    } else if conditions.serving && conditions.terminating {
                        draining.entry(endpoint).or_insert(place);
                    }
                }
            }
        }
        draining.retain(|endpoint, _| !ready.contains_key(endpoint));
        (ready, draining)
    }
}

/// What an object claims; a claim that stays keeps its age.
fn claim(resource: &Resource) -> (Option<Arc<str>>, Vec<IpAddr>) {
    match resource {
        Resource::Pod(pod) => (Some(Arc::clone(&pod.uid)), pod.own_ips().to_vec()),
        Resource::Service(service) => (None, service.vips.clone()),
        _ => (None, Vec::new()),
    }
}
