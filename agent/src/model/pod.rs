//! Pods as objects, and workloads: pods with what the mesh knows about them.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Instant};

use ipnet::IpNet;

use super::{names::ObjectName, spiffe::SpiffeId};

/// Label on a Namespace or a Pod: `enabled` or `disabled`; the pod's wins.
pub const LABEL_MESH: &str = "weir.dev/mesh";
/// Path of the pod's network namespace, where no kubelet says it.
pub const ANNOTATION_NETNS: &str = "weir.dev/netns";
/// A process in the pod's network namespace, where no kubelet says it.
pub const ANNOTATION_PID: &str = "weir.dev/pid";
/// `"true"` once the node's agent has proven capture; `"false"`: no agent there.
pub const ANNOTATION_CAPTURED: &str = "weir.dev/captured";
/// What ztunnel reads and Istio's CNI writes; `enabled` counts as captured.
pub const ANNOTATION_AMBIENT: &str = "ambient.istio.io/redirection";
pub const ANNOTATION_SKIP_INBOUND_PORTS: &str = "weir.dev/skip-inbound-ports";
pub const ANNOTATION_SKIP_OUTBOUND_PORTS: &str = "weir.dev/skip-outbound-ports";
pub const ANNOTATION_SKIP_OUTBOUND_CIDRS: &str = "weir.dev/skip-outbound-cidrs";
/// The pod's share of what its services get; see [`super::service::Place::weight`].
pub const ANNOTATION_WEIGHT: &str = "weir.dev/weight";

/// A Pod, reduced to what the mesh needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: ObjectName,
    /// `metadata.uid`; in a folder without one, `namespace/name`.
    pub uid: Arc<str>,
    pub labels: Labels,
    pub node: Arc<str>,
    pub service_account: Arc<str>,
    /// `status.podIPs`, the primary first. Empty until the pod has an address.
    pub ips: Vec<IpAddr>,
    pub host_network: bool,
    /// `Succeeded` or `Failed`: its addresses may belong to another pod by now.
    pub finished: bool,
    /// The pod carries a container of another mesh (istio-proxy, linkerd-proxy).
    pub foreign_sidecar: bool,
    /// The name of the owner: a ReplicaSet's without its hash, a CronJob's Job without its time,
    /// else the pod's own.
    pub workload_name: Arc<str>,
    /// The pod's own [`LABEL_MESH`], where it has one.
    pub mesh: Option<MeshLabel>,
    /// What the node's agent, or the folder's author, says of capture.
    pub captured: Option<bool>,
    pub netns: Option<NetnsRef>,
    pub skip: SkipRules,
    /// [`ANNOTATION_WEIGHT`], 0 to [`super::service::WEIGHT_MAX`].
    pub weight: Option<u16>,
}

/// Labels of an object, or those a selector asks for. Immutable, so that the replicas of a
/// workload share one allocation.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// In the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each label of `wanted` is among these.
    pub fn contain(&self, wanted: &Self) -> bool {
        wanted
            .iter()
            .all(|(key, value)| self.get(key) == Some(value))
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    /// Of several values for one key the last counts.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(pairs: I) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        Self(sorted.into_iter().collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Labels {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The value of [`LABEL_MESH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshLabel {
    Enabled,
    Disabled,
}

/// Where to find a pod's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetnsRef {
    Path(PathBuf),
    Pid(u32),
}

/// Traffic of a pod that is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkipRules {
    pub inbound_ports: Vec<u16>,
    pub outbound_ports: Vec<u16>,
    pub outbound_cidrs: Vec<IpNet>,
}

/// A Namespace, reduced to what the mesh needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: Arc<str>,
    pub mesh: Option<MeshLabel>,
}

/// A pod as the data plane sees it: enrolment resolved, identity made.
#[derive(Debug)]
pub struct Workload {
    pub pod: Arc<Pod>,
    pub identity: SpiffeId,
    /// By label of the pod or its namespace, and able to be: not hostNetwork, no foreign
    /// sidecar, not finished.
    pub enrolled: bool,
    /// When `enrolled` or the pod's `captured` last changed: for a second after it, a refused
    /// tunnel port may mean that the other node's agent is not there yet.
    pub enrolment_changed_at: Instant,
}

impl Pod {
    /// The addresses that are this pod's own: none on the host's network, none once finished.
    pub fn own_ips(&self) -> &[IpAddr] {
        if self.host_network || self.finished {
            &[]
        } else {
            &self.ips
        }
    }
}

impl Workload {
    /// Whether peers reach this pod through a tunnel; otherwise it gets plain TCP.
    pub fn tunnelled(&self) -> bool {
        self.enrolled && self.pod.captured != Some(false)
    }
}
