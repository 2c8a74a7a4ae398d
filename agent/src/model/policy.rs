//! Policies on who may speak to whom, and how.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{
    names::ObjectName,
    pod::{Labels, Workload},
    snapshot::Snapshot,
};

/// What a pod demands of peers that are not enrolled (`PeerAuthentication.spec.mtls.mode`).
/// Between captured pods it is always mutual TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtlsMode {
    /// Plaintext is let in.
    #[default]
    Permissive,
    /// Plaintext is refused.
    Strict,
    /// As permissive: between captured pods nothing turns TLS off.
    Disable,
}

impl MtlsMode {
    pub fn allows_plaintext(self) -> bool {
        self != Self::Strict
    }
}

/// `PeerAuthentication`, of `security.istio.io/v1` or `weir.dev/v1alpha1`.
///
/// One that is invalid is kept as STRICT for all that it selects: it must not open what its
/// author meant to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthentication {
    pub name: ObjectName,
    pub created: Option<SystemTime>,
    /// `spec.selector.matchLabels`; none: the whole namespace, or the mesh in the root namespace.
    pub selector: Option<Labels>,
    /// `None` (UNSET) inherits from the next wider policy.
    pub mode: Option<MtlsMode>,
    /// `spec.portLevelMtls`, keyed by the pod's port. Counts only with a selector, as Istio has it.
    pub ports: BTreeMap<u16, Option<MtlsMode>>,
}

impl PeerAuthentication {
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector
            .as_ref()
            .is_none_or(|wanted| labels.contain(wanted))
    }

    /// The oldest comes first, then the name. A policy whose age is unknown, as in a folder,
    /// is younger than one whose age is known.
    fn age(&self) -> (bool, Option<SystemTime>, &ObjectName) {
        (self.created.is_none(), self.created, &self.name)
    }
}

/// The policies of one namespace in the order in which [`resolve`] asks them.
#[derive(Debug, Default)]
pub(super) struct NamespacePolicies {
    /// The one without a selector that counts.
    wide: Option<Arc<PeerAuthentication>>,
    /// Those with a selector, the oldest first.
    selecting: Vec<Arc<PeerAuthentication>>,
}

impl NamespacePolicies {
    pub(super) fn new(policies: impl Iterator<Item = Arc<PeerAuthentication>>) -> Self {
        let (mut selecting, wide): (Vec<_>, Vec<_>) = policies.partition(|p| p.selector.is_some());
        selecting.sort_by(|a, b| a.age().cmp(&b.age()));
        Self {
            wide: wide.into_iter().min_by(|a, b| a.age().cmp(&b.age())),
            selecting,
        }
    }

    fn wide_mode(&self) -> Option<MtlsMode> {
        self.wide.as_ref().and_then(|policy| policy.mode)
    }
}

/// See [`Snapshot::mtls_mode`].
///
/// The order is Istio's: one policy per level counts, and what it leaves UNSET is asked of the
/// next wider level, not of a younger policy on its own.
pub(super) fn resolve(snapshot: &Snapshot, workload: &Workload, port: u16) -> MtlsMode {
    let of_namespace = snapshot.policies.get(&workload.pod.name.namespace);
    let of_mesh = snapshot.policies.get(&snapshot.mesh.root_namespace);
    let of_workload = of_namespace.and_then(|policies| {
        policies
            .selecting
            .iter()
            .find(|policy| policy.selects(&workload.pod.labels))
    });
    of_workload
        .and_then(|policy| policy.ports.get(&port).copied().flatten().or(policy.mode))
        .or_else(|| of_namespace.and_then(|policies| policies.wide_mode()))
        .or_else(|| of_mesh.and_then(|policies| policies.wide_mode()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
