//! Policies on who may speak to whom, and how.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{names::ObjectName, pod::Labels};

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
        let wanted: &Labels = match &self.selector {
            Some(wanted) => wanted,
            None => return true,
        };
        wanted.iter().all(|(key, value)| {
            labels.get(key).map(Arc::as_ref) == Some(value.as_ref())
        })
    }
}

/// See [`super::snapshot::Snapshot::mtls_mode`].
pub(super) fn resolve(_snapshot: &super::snapshot::Snapshot, _workload: &super::pod::Workload, _port: u16) -> MtlsMode {
    MtlsMode::default()
}
