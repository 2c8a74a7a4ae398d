//! Pods: enrolment, identity, addresses.

use std::{net::IpAddr, sync::Arc, time::Instant};

use super::{Fold, Touched};
use crate::model::{
    names::{self, ObjectName},
    pod::{MeshLabel, Pod, Workload},
};

/// Kubernetes gives a pod without one this account.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

impl Fold {
    pub(super) fn upsert_pod(
        &mut self,
        name: ObjectName,
        pod: Arc<Pod>,
        touched: &mut Touched,
        now: Instant,
    ) {
        let old = self.state.workloads.get(&name).cloned();
        if old.as_ref().is_some_and(|old| old.pod == pod) {
            return;
        }
        let keeps_ips = old
            .as_ref()
            .is_some_and(|old| old.pod.uid == pod.uid && old.pod.own_ips() == pod.own_ips());
        let workload = Arc::new(self.workload(&name, pod, old.as_deref(), now));
        if !keeps_ips && let Some(old) = &old {
            self.release_ips(&name, old.pod.own_ips());
        }
        self.put_workload(&name, &workload);
        if !keeps_ips {
            self.claim_ips(&name, &workload);
        }
        self.derive_weights(workload.pod.own_ips(), touched);
        if let Some(old) = &old {
            self.derive_weights(old.pod.own_ips(), touched);
            self.identities.release(&account(&name, &old.pod));
        }
    }

    pub(super) fn remove_pod(&mut self, name: &ObjectName, touched: &mut Touched) {
        let Some(old) = self.state.workloads.remove(name) else {
            return;
        };
        self.state.local.remove(name);
        self.release_ips(name, old.pod.own_ips());
        self.derive_weights(old.pod.own_ips(), touched);
        self.identities.release(&account(name, &old.pod));
    }

    /// Weights are rare: they have an index of their own, so that services without any do not ask
    /// for the pod of each of their endpoints.
    fn derive_weights(&mut self, ips: &[IpAddr], touched: &mut Touched) {
        for ip in ips {
            let holder = self.state.workloads_by_ip.get(ip).map(|holder| &holder.pod);
            let new = holder.and_then(|pod| Some((Arc::clone(&pod.name.namespace), pod.weight?)));
            if self.weights.get(ip) == new.as_ref() {
                continue;
            }
            let old = match new.clone() {
                Some(new) => self.weights.insert(*ip, new),
                None => self.weights.remove(ip),
            };
            let namespaces = old.into_iter().chain(new).map(|(namespace, _)| namespace);
            touched
                .weights
                .extend(namespaces.map(|namespace| (namespace, *ip)));
        }
    }

    /// The label of `namespace` has changed: its pods without a label of their own follow.
    pub(super) fn derive_enrolment(&mut self, namespace: &Arc<str>, now: Instant) {
        let changed: Vec<(ObjectName, Arc<Workload>)> =
            names::of_namespace(&self.state.workloads, namespace)
                .filter(|(_, workload)| self.enrolled(&workload.pod) != workload.enrolled)
                .map(|(name, workload)| (name.clone(), Arc::clone(workload)))
                .collect();
        for (name, old) in changed {
            let workload = Arc::new(Workload {
                pod: Arc::clone(&old.pod),
                identity: old.identity.clone(),
                enrolled: !old.enrolled,
                enrolment_changed_at: now,
            });
            self.put_workload(&name, &workload);
        }
    }

    fn workload(
        &mut self,
        name: &ObjectName,
        pod: Arc<Pod>,
        old: Option<&Workload>,
        now: Instant,
    ) -> Workload {
        let enrolled = self.enrolled(&pod);
        let unchanged_since = old
            .filter(|old| {
                old.pod.uid == pod.uid
                    && old.enrolled == enrolled
                    && old.pod.captured == pod.captured
            })
            .map(|old| old.enrolment_changed_at);
        Workload {
            identity: self.identities.acquire(account(name, &pod)),
            enrolled,
            enrolment_changed_at: unchanged_since.unwrap_or(now),
            pod,
        }
    }

    fn enrolled(&self, pod: &Pod) -> bool {
        let of_namespace = || {
            self.state
                .namespaces
                .get(&pod.name.namespace)
                .and_then(|ns| ns.mesh)
        };
        let able = !pod.host_network && !pod.foreign_sidecar && !pod.finished;
        able && pod.mesh.or_else(of_namespace) == Some(MeshLabel::Enabled)
    }

    /// Writes `workload` wherever its predecessor is; claims on addresses stay as they are.
    fn put_workload(&mut self, name: &ObjectName, workload: &Arc<Workload>) {
        self.state
            .workloads
            .insert(name.clone(), Arc::clone(workload));
        if workload.pod.node == self.node {
            self.state.local.insert(name.clone(), Arc::clone(workload));
        } else if self.state.local.contains_key(name) {
            self.state.local.remove(name);
        }
        for ip in workload.pod.own_ips() {
            if self.pod_holding(*ip) == Some(name) {
                self.state.workloads_by_ip.insert(*ip, Arc::clone(workload));
                self.derive_destination(*ip);
            }
        }
    }

    fn claim_ips(&mut self, name: &ObjectName, workload: &Arc<Workload>) {
        for ip in workload.pod.own_ips() {
            let displaced = self.state.workloads_by_ip.insert(*ip, Arc::clone(workload));
            if let Some(displaced) = displaced.filter(|old| old.pod.name != *name) {
                self.pod_ips.displace(*ip, displaced.pod.name.clone());
            }
            self.derive_destination(*ip);
        }
    }

    fn release_ips(&mut self, name: &ObjectName, ips: &[IpAddr]) {
        for ip in ips {
            if self.pod_holding(*ip) != Some(name) {
                self.pod_ips.withdraw(*ip, name);
                continue;
            }
            let next = self
                .pod_ips
                .next(*ip)
                .and_then(|next| self.state.workloads.get(&next).cloned());
            match next {
                Some(next) => self.state.workloads_by_ip.insert(*ip, next),
                None => self.state.workloads_by_ip.remove(ip),
            };
            self.derive_destination(*ip);
        }
    }

    fn pod_holding(&self, ip: IpAddr) -> Option<&ObjectName> {
        self.state
            .workloads_by_ip
            .get(&ip)
            .map(|workload| &workload.pod.name)
    }
}

fn account(name: &ObjectName, pod: &Pod) -> ObjectName {
    let account = match pod.service_account.is_empty() {
        true => DEFAULT_SERVICE_ACCOUNT.into(),
        false => Arc::clone(&pod.service_account),
    };
    ObjectName::new(Arc::clone(&name.namespace), account)
}
