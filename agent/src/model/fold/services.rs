//! Services: virtual addresses, and endpoints gathered from slices.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use super::{Fold, Touched};
use crate::model::{
    names::ObjectName,
    service::{
        Endpoint, EndpointSet, EndpointSlice, Service, ServicePort, ServiceState, SliceEndpoint,
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
        // which `derive_endpoints` needs in order to keep what did not change.
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
            touched.services.remove(name);
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

    /// Gathers the endpoints of `name` anew from its slices. Sets that come out as they were
    /// stay the same allocation.
    pub(super) fn derive_endpoints(&mut self, name: &ObjectName) {
        // A slice may come before its service.
        let Some(old) = self.state.services.get(name).cloned() else {
            return;
        };
        let first = (name.clone(), Arc::from(""));
        let slices: Vec<&EndpointSlice> = self
            .state
            .slices
            .range(first..)
            .take_while(|((service, _), _)| service == name)
            .map(|(_, slice)| slice.as_ref())
            .collect();
        let endpoints: Vec<Arc<EndpointSet>> = old
            .service
            .ports
            .iter()
            .zip(&old.endpoints)
            .map(|(port, before)| gather(port, &slices, before))
            .collect();
        if endpoints
            .iter()
            .zip(&old.endpoints)
            .all(|(new, old)| Arc::ptr_eq(new, old))
        {
            return;
        }
        let service = Arc::clone(&old.service);
        self.put_service(
            name,
            &Arc::new(ServiceState {
                service,
                endpoints,
                policy: old.policy.clone(),
            }),
        );
    }

    /// Writes `state` wherever its predecessor is; claims on addresses stay as they are.
    fn put_service(&mut self, name: &ObjectName, state: &Arc<ServiceState>) {
        self.state.services.insert(name.clone(), Arc::clone(state));
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

/// The endpoints behind `port`. An endpoint that several slices name, as while one is moved
/// from slice to slice, counts once, and as ready if any says so.
fn gather(
    port: &ServicePort,
    slices: &[&EndpointSlice],
    before: &Arc<EndpointSet>,
) -> Arc<EndpointSet> {
    let expected = before.endpoints.len();
    let mut seen =
        HashSet::with_capacity_and_hasher(expected, foldhash::fast::RandomState::default());
    let mut endpoints = Vec::with_capacity(expected);
    let mut draining = Vec::new();
    for slice in slices {
        let Some((_, number)) = slice.ports.iter().find(|(name, _)| *name == port.name) else {
            continue;
        };
        for SliceEndpoint {
            address,
            conditions,
            ..
        } in &slice.endpoints
        {
            let endpoint = Endpoint {
                address: *address,
                port: *number,
            };
            if conditions.ready {
                if seen.insert(endpoint) {
                    endpoints.push(endpoint);
                }
            } else if conditions.serving && conditions.terminating {
                draining.push(endpoint);
            }
        }
    }
    let ready = endpoints.len();
    draining.retain(|endpoint| seen.insert(*endpoint));
    endpoints.extend(draining);
    for part in [0..ready, ready..endpoints.len()] {
        // Mostly in order: the slices of one family come one after the other.
        endpoints[part].sort_by_key(|endpoint| endpoint.address.is_ipv6());
    }
    if before.ready == ready && before.endpoints == endpoints {
        return Arc::clone(before);
    }
    endpoints.shrink_to_fit();
    Arc::new(EndpointSet {
        endpoints,
        ready,
        places: Vec::new(),
        next: Arc::clone(&before.next),
    })
}
