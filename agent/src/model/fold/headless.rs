//! Headless services with a policy, by their pods' addresses: nothing else is dialled of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::Fold;
use crate::model::names::ObjectName;

/// Which services have which addresses, in both directions.
#[derive(Debug, Default)]
pub(super) struct Headless {
    addresses: BTreeMap<ObjectName, BTreeSet<IpAddr>>,
    services: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
}

impl Fold {
    /// `name`, its policy or its slices changed. Of several services with one address the first
    /// by name counts.
    pub(super) fn derive_headless(&mut self, name: &ObjectName) {
        let state = self.state.services.get(name);
        let acts =
            state.is_some_and(|state| state.service.vips.is_empty() && state.policy.is_some());
        // Whatever their conditions: who dials an address of its own accord is not asked.
        let addresses: BTreeSet<IpAddr> = match acts {
            true => self
                .slices_of(name)
                .flat_map(|slice| slice.endpoints.iter().map(|endpoint| endpoint.address))
                .collect(),
            false => BTreeSet::new(),
        };
        let before = self.headless.addresses.remove(name).unwrap_or_default();
        for ip in before.difference(&addresses) {
            if let Some(services) = self.headless.services.get_mut(ip) {
                services.remove(name);
                if services.is_empty() {
                    self.headless.services.remove(ip);
                }
            }
        }
        for ip in addresses.difference(&before) {
            let services = self.headless.services.entry(*ip).or_default();
            services.insert(name.clone());
        }
        for ip in before.union(&addresses) {
            self.derive_headless_address(*ip);
        }
        if !addresses.is_empty() {
            self.headless.addresses.insert(name.clone(), addresses);
        }
    }

    fn derive_headless_address(&mut self, ip: IpAddr) {
        let services = self.headless.services.get(&ip);
        let first = services.and_then(|services| services.first());
        let new = first.and_then(|name| self.state.services.get(name));
        let old = self.state.headless.get(&ip);
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
            (_, Some(new)) => drop(self.state.headless.insert(ip, Arc::clone(new))),
            (Some(_), None) => drop(self.state.headless.remove(&ip)),
            (None, None) => {}
        }
    }
}
