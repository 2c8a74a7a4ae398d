//! Services: virtual addresses, and endpoints gathered from slices.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Fold, Touched};
use crate::model::{
    names::ObjectName,
    service::{
        Endpoint, EndpointSet, EndpointSlice, Place, Service, ServicePort, ServiceState,
        SliceEndpoint,
    },
};

impl Fold {
    pub(super) fn upsert_service(
        &mut self,
        name: ObjectName,
        service: Arc<Service>,
        touched: &mut Touched,
    ) {
        let old = self.state.services.get(&name).cloned();
        if old.as_ref().is_some_and(|old| old.service == service) {
            return;
        }
        let keeps_vips = old
            .as_ref()
            .is_some_and(|old| old.service.vips == service.vips);
        // The sets follow when the delta has been read to its end; until then the old ones stay,
        // which `derive_service` needs in order to keep what did not change.
        let endpoints = service
            .ports
            .iter()
            .map(|port| set_of(old.as_deref(), &port.name))
            .collect();
        let state = Arc::new(ServiceState {
            service,
            endpoints,
            policy: old.as_ref().and_then(|old| old.policy.clone()),
        });
        if !keeps_vips && let Some(old) = &old {
            self.release_vips(&name, &old.service.vips);
        }
        self.put_service(&name, &state);
        if !keeps_vips {
            self.claim_vips(&name, &state);
        }
        self.routes.touch_service(&name, &mut touched.routes);
        touched.services.insert(name);
    }

    pub(super) fn remove_service(&mut self, name: &ObjectName, touched: &mut Touched) {
        if let Some(old) = self.state.services.remove(name) {
            self.release_vips(name, &old.service.vips);
            self.state.limited.remove(name);
            touched.services.remove(name);
            self.derive_headless(name);
            self.routes.touch_service(name, &mut touched.routes);
        }
    }

    pub(super) fn upsert_slice(
        &mut self,
        name: ObjectName,
        slice: Arc<EndpointSlice>,
        touched: &mut Touched,
    ) {
        let service = ObjectName::new(Arc::clone(&name.namespace), Arc::clone(&slice.service));
        let before = self.slice_services.get(&name);
        if before.is_some_and(|before| *before != slice.service) {
            self.remove_slice(&name, touched);
        }
        self.slice_services
            .insert(name.clone(), Arc::clone(&slice.service));
        self.state
            .slices
            .insert((service.clone(), name.name), slice);
        touched.services.insert(service);
    }

    pub(super) fn remove_slice(&mut self, name: &ObjectName, touched: &mut Touched) {
        if let Some(service) = self.slice_services.remove(name) {
            let service = ObjectName::new(Arc::clone(&name.namespace), service);
            self.state
                .slices
                .remove(&(service.clone(), Arc::clone(&name.name)));
            touched.services.insert(service);
        }
    }

    /// Touches the services that have an endpoint of another weight than before.
    pub(super) fn touch_weighed(&self, touched: &mut Touched) {
        let mut namespaces: BTreeMap<&Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
        for (namespace, ip) in &touched.weights {
            namespaces.entry(namespace).or_default().insert(*ip);
        }
        for (namespace, ips) in namespaces {
            let first = (ObjectName::new(Arc::clone(namespace), ""), Arc::from(""));
            let slices = self
                .state
                .slices
                .range(first..)
                .take_while(|((service, _), _)| service.namespace == *namespace);
            for ((service, _), slice) in slices {
                let mut endpoints = slice.endpoints.iter();
                if endpoints.any(|endpoint| ips.contains(&endpoint.address)) {
                    touched.services.insert(service.clone());
                }
            }
        }
    }

    pub(super) fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &EndpointSlice> {
        let first = (service.clone(), Arc::from(""));
        let slices = self.state.slices.range(first..);
        slices
            .take_while(move |((of, _), _)| of == service)
            .map(|(_, slice)| slice.as_ref())
    }

    /// Gathers the endpoints of `name` anew from its slices, and its policy. Sets and policies
    /// that come out as they were stay the same allocation.
    pub(super) fn derive_service(&mut self, name: &ObjectName) {
        // A slice may come before its service.
        let Some(old) = self.state.services.get(name).cloned() else {
            return;
        };
        let slices: Vec<&EndpointSlice> = self.slices_of(name).collect();
        let weight = |ip: &IpAddr| {
            let (namespace, weight) = self.weights.get(ip)?;
            (*namespace == name.namespace).then_some(*weight)
        };
        let endpoints: Vec<Arc<EndpointSet>> = old
            .service
            .ports
            .iter()
            .zip(&old.endpoints)
            .map(|(port, before)| gather(port, &slices, &weight, before))
            .collect();
        let policy = self.policies.of_service(name, old.policy.as_ref());
        let mut sets = endpoints.iter().zip(&old.endpoints);
        let same_policy = match (&policy, &old.policy) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (new, old) => new.is_none() && old.is_none(),
        };
        if same_policy && sets.all(|(new, old)| Arc::ptr_eq(new, old)) {
            return;
        }
        let service = Arc::clone(&old.service);
        let state = ServiceState {
            service,
            endpoints,
            policy,
        };
        self.put_service(name, &Arc::new(state));
    }

    /// Writes `state` wherever its predecessor is; claims on addresses stay as they are.
    fn put_service(&mut self, name: &ObjectName, state: &Arc<ServiceState>) {
        self.state.services.insert(name.clone(), Arc::clone(state));
        if state.is_limited() {
            self.state.limited.insert(name.clone(), Arc::clone(state));
        } else if self.state.limited.contains_key(name) {
            self.state.limited.remove(name);
        }
        for vip in &state.service.vips {
            if self.service_holding(*vip) == Some(name) {
                self.state.services_by_vip.insert(*vip, Arc::clone(state));
            }
        }
    }

    fn claim_vips(&mut self, name: &ObjectName, state: &Arc<ServiceState>) {
        for vip in &state.service.vips {
            let displaced = self.state.services_by_vip.insert(*vip, Arc::clone(state));
            if let Some(displaced) = displaced.filter(|old| old.service.name != *name) {
                self.vips.displace(*vip, displaced.service.name.clone());
            }
            self.derive_destination(*vip);
        }
    }

    fn release_vips(&mut self, name: &ObjectName, vips: &[IpAddr]) {
        for vip in vips {
            if self.service_holding(*vip) != Some(name) {
                self.vips.withdraw(*vip, name);
                continue;
            }
            let next = self
                .vips
                .next(*vip)
                .and_then(|next| self.state.services.get(&next).cloned());
            match next {
                Some(next) => self.state.services_by_vip.insert(*vip, next),
                None => self.state.services_by_vip.remove(vip),
            };
            self.derive_destination(*vip);
        }
    }

    fn service_holding(&self, vip: IpAddr) -> Option<&ObjectName> {
        self.state
            .services_by_vip
            .get(&vip)
            .map(|state| &state.service.name)
    }
}

/// The set that `old` has for the port of this name.
fn set_of(old: Option<&ServiceState>, port: &Arc<str>) -> Arc<EndpointSet> {
    old.and_then(|old| {
        old.service
            .ports
            .iter()
            .position(|p| p.name == *port)
            .and_then(|at| old.endpoints.get(at))
    })
    .cloned()
    .unwrap_or_default()
}

/// An endpoint, and what is known of its place before anything is copied.
struct Found<'s> {
    endpoint: Endpoint,
    from: &'s SliceEndpoint,
    weight: Option<u16>,
}

impl Found<'_> {
    fn has_place(&self) -> bool {
        self.from.node.is_some() || self.from.zone.is_some() || self.weight.is_some()
    }

    fn is_at(&self, place: &Place) -> bool {
        let Place { node, zone, weight } = place;
        (node, zone, weight) == (&self.from.node, &self.from.zone, &self.weight)
    }

    fn place(&self) -> Place {
        Place {
            node: self.from.node.clone(),
            zone: self.from.zone.clone(),
            weight: self.weight,
        }
    }
}

/// The endpoints behind `port`. An endpoint that several slices name, as while one is moved
/// from slice to slice, counts once, and as ready if any says so; its place is what the first of
/// those says.
fn gather(
    port: &ServicePort,
    slices: &[&EndpointSlice],
    weight: &impl Fn(&IpAddr) -> Option<u16>,
    before: &Arc<EndpointSet>,
) -> Arc<EndpointSet> {
    let expected = before.endpoints.len();
    let mut seen =
        HashSet::with_capacity_and_hasher(expected, foldhash::fast::RandomState::default());
    let mut found: Vec<Found<'_>> = Vec::with_capacity(expected);
    let mut draining = Vec::new();
    for slice in slices {
        let Some((_, number)) = slice.ports.iter().find(|(name, _)| *name == port.name) else {
            continue;
        };
        for from in &slice.endpoints {
            let conditions = from.conditions;
            let endpoint = Endpoint {
                address: from.address,
                port: *number,
            };
            let found_here = || Found {
                endpoint,
                from,
                weight: weight(&endpoint.address),
            };
            if conditions.ready {
                if seen.insert(endpoint) {
                    found.push(found_here());
                }
            } else if conditions.serving && conditions.terminating {
                draining.push(found_here());
            }
        }
    }
    let ready = found.len();
    draining.retain(|found| seen.insert(found.endpoint));
    found.extend(draining);
    for part in [0..ready, ready..found.len()] {
        // Mostly in order: the slices of one family come one after the other.
        found[part].sort_by_key(|found| found.endpoint.address.is_ipv6());
    }
    // Nothing is kept of places that nothing is known of.
    let placed = found.iter().any(Found::has_place);
    let same_places = match placed {
        true => {
            found.len() == before.places.len()
                && found
                    .iter()
                    .zip(&before.places)
                    .all(|(found, place)| found.is_at(place))
        }
        false => before.places.is_empty(),
    };
    let endpoints = || found.iter().map(|found| found.endpoint);
    if before.ready == ready && same_places && endpoints().eq(before.endpoints.iter().copied()) {
        return Arc::clone(before);
    }
    Arc::new(EndpointSet {
        endpoints: endpoints().collect(),
        ready,
        places: match placed {
            true => found.iter().map(Found::place).collect(),
            false => Vec::new(),
        },
        next: Arc::clone(&before.next),
    })
}
