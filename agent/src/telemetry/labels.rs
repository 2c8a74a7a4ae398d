//! The labels of Istio's standard metrics, and the ends of a connection that they come from.

use std::{borrow::Cow, fmt, sync::Arc};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::model::{names::ObjectName, pod::Workload, spiffe::SpiffeId};

/// The value of every label of which nothing is known.
pub(super) const UNKNOWN: &str = "unknown";

/// Which agent tells: the client's or the server's. A connection within one node is told twice,
/// as it would be between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reporter {
    Source,
    Destination,
}

impl Reporter {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// What protected the connection between the two agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecurityPolicy {
    MutualTls,
    None,
}

impl SecurityPolicy {
    /// The value of the label `connection_security_policy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::None => "none",
        }
    }
}

/// What the labels say of one end of a connection. `None` is [`UNKNOWN`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) workload: Option<PeerWorkload>,
    pub(super) principal: Option<SpiffeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerWorkload {
    name: Arc<str>,
    namespace: Arc<str>,
    app: Option<Arc<str>>,
    version: Option<Arc<str>>,
    canonical_service: Arc<str>,
    canonical_revision: Option<Arc<str>>,
}

impl PeerWorkload {
    /// The labels as Istio derives them: `app` and `version` are the pod's own labels, the
    /// canonical ones have fallbacks (istio/pkg/model/proxy.go, `CanonicalServiceLabels`).
    pub(super) fn of(workload: &Workload) -> Self {
        let pod = &workload.pod;
        let first = |keys| first_label(workload, keys).cloned();
        Self {
            name: pod.workload_name.clone(),
            namespace: pod.name.namespace.clone(),
            app: first(&["app"]),
            version: first(&["version"]),
            canonical_service: canonical_service(workload).clone(),
            canonical_revision: first(&[
                "service.istio.io/canonical-revision",
                "app.kubernetes.io/version",
                "version",
            ]),
        }
    }
}

pub(super) fn canonical_service(workload: &Workload) -> &Arc<str> {
    let keys = [
        "service.istio.io/canonical-name",
        "app.kubernetes.io/name",
        "app",
    ];
    first_label(workload, &keys).unwrap_or(&workload.pod.workload_name)
}

/// The first of `keys` that the pod has, and not empty.
fn first_label<'a>(workload: &'a Workload, keys: &[&str]) -> Option<&'a Arc<str>> {
    let label = |key| workload.pod.labels.get(key);
    keys.iter()
        .find_map(|key| label(key).filter(|value| !value.is_empty()))
}

/// Everything that tells one set of counters from another, less the response flags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TrafficLabels {
    pub(super) reporter: Reporter,
    pub(super) source: Peer,
    pub(super) destination: Peer,
    pub(super) service: Option<ObjectName>,
    /// `None` only where label sets are collapsed for being too many.
    pub(super) security: Option<SecurityPolicy>,
}

impl TrafficLabels {
    /// What remains of a label set once there are too many.
    pub(super) fn unknown(reporter: Reporter) -> Self {
        Self {
            reporter,
            source: Peer::default(),
            destination: Peer::default(),
            service: None,
            security: None,
        }
    }
}

/// What all label sets of one agent share.
#[derive(Clone, Debug)]
pub(super) struct CommonLabels {
    /// `source_cluster` and `destination_cluster` of known workloads.
    pub(super) cluster: Arc<str>,
    /// The end of a service's DNS name: `cluster.local`.
    pub(super) cluster_domain: Arc<str>,
}

/// What the labels say of how it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// `request_protocol`
    pub(super) protocol: &'static str,
    /// Of requests: `response_code` and `grpc_response_status`, which is empty where there is none.
    pub(super) codes: Option<(Code, Code)>,
    pub(super) flags: &'static str,
}

/// The value of a label that is a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    Number(u16),
    Unknown,
    Empty,
}

/// A label set on its way into the exposition. Made once and written for each of its samples.
#[derive(Debug)]
pub(super) struct Exposed<'a> {
    common: &'a CommonLabels,
    labels: &'a TrafficLabels,
    service_host: Cow<'static, str>,
    pub(super) outcome: Outcome,
}

impl<'a> Exposed<'a> {
    pub(super) fn new(
        common: &'a CommonLabels,
        labels: &'a TrafficLabels,
        outcome: Outcome,
    ) -> Self {
        let host = |service| service_host(service, &common.cluster_domain).into();
        Self {
            common,
            labels,
            service_host: labels.service.as_ref().map_or(UNKNOWN.into(), host),
            outcome,
        }
    }

    fn peer(
        &self,
        encoder: &mut LabelSetEncoder<'_>,
        keys: &[&'static str; 8],
        peer: &Peer,
    ) -> fmt::Result {
        let principal = peer.principal.as_ref().map_or(UNKNOWN, SpiffeId::as_str);
        let mut values = [UNKNOWN; 8];
        if let Some(workload) = &peer.workload {
            values = [
                &*workload.name,
                &workload.namespace,
                UNKNOWN,
                workload.app.as_deref().unwrap_or(UNKNOWN),
                workload.version.as_deref().unwrap_or(UNKNOWN),
                &self.common.cluster,
                &workload.canonical_service,
                workload.canonical_revision.as_deref().unwrap_or("latest"),
            ];
        }
        values[2] = principal;
        keys.iter()
            .zip(values)
            .try_for_each(|(key, value)| put(encoder, key, value))
    }
}

impl EncodeLabelSet for Exposed<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let labels = self.labels;
        put(encoder, "reporter", labels.reporter.as_str())?;
        self.peer(encoder, &SOURCE_KEYS, &labels.source)?;
        self.peer(encoder, &DESTINATION_KEYS, &labels.destination)?;
        let (name, namespace) = match &labels.service {
            Some(service) => (service.name.as_ref(), service.namespace.as_ref()),
            None => (UNKNOWN, UNKNOWN),
        };
        put(encoder, "destination_service", &self.service_host)?;
        put(encoder, "destination_service_name", name)?;
        put(encoder, "destination_service_namespace", namespace)?;
        put(encoder, "request_protocol", self.outcome.protocol)?;
        if let Some((response, grpc)) = self.outcome.codes {
            put_code(encoder, "response_code", response)?;
            put_code(encoder, "grpc_response_status", grpc)?;
        }
        put(encoder, "response_flags", self.outcome.flags)?;
        let security = labels.security.map_or(UNKNOWN, SecurityPolicy::as_str);
        put(encoder, "connection_security_policy", security)
    }
}

const SOURCE_KEYS: [&str; 8] = [
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
];

const DESTINATION_KEYS: [&str; 8] = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
];

pub(super) fn put(encoder: &mut LabelSetEncoder<'_>, key: &str, value: &str) -> fmt::Result {
    (key, value).encode(encoder.encode_label())
}

fn put_code(encoder: &mut LabelSetEncoder<'_>, key: &str, code: Code) -> fmt::Result {
    match code {
        Code::Number(number) => (key, number).encode(encoder.encode_label()),
        Code::Unknown => put(encoder, key, UNKNOWN),
        Code::Empty => put(encoder, key, ""),
    }
}

/// `name.namespace.svc.cluster.local`.
pub(super) fn service_host(service: &ObjectName, cluster_domain: &str) -> String {
    format!(
        "{}.{}.svc.{cluster_domain}",
        service.name, service.namespace
    )
}
