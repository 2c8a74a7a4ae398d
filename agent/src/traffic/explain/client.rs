//! Who asks, and whether the mesh sees its connections at all.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

use super::{
    destination::{Destination, Outside},
    question::{Client, Question},
};
use crate::model::{
    names::ObjectName,
    pod::{LABEL_MESH, MeshLabel, Workload},
    snapshot::Snapshot,
};

/// Pods that are named in a sentence.
const NAMED_MAX: usize = 3;

/// The client, as far as it is known.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientPlan {
    pub namespace: String,
    /// `namespace/name`; absent where any pod of the namespace is meant.
    pub pod: Option<String>,
    pub node: Option<String>,
    pub identity: Option<String>,
    /// Absent where the pod is not known.
    pub enrolled: Option<bool>,
    /// What is taken for granted.
    pub note: Option<String>,
}

impl ClientPlan {
    pub(super) fn of(snapshot: &Snapshot, client: &Client) -> Self {
        let namespace = client.namespace.to_string();
        let unknown = Self {
            namespace,
            pod: client.pod.as_ref().map(|_| name_of(client).to_string()),
            node: None,
            identity: None,
            enrolled: None,
            note: None,
        };
        match workload(snapshot, client) {
            Some(workload) => Self {
                node: Some(workload.pod.node.to_string()),
                identity: Some(workload.identity.to_string()),
                enrolled: Some(workload.enrolled),
                ..unknown
            },
            None => {
                let what = match unknown.pod {
                    Some(_) => {
                        "it is not known here: look at its name. What follows is for an enrolled"
                    }
                    None => "any enrolled",
                };
                Self {
                    note: Some(format!(
                        "{what} pod of namespace {}; endpoints of its own node it reaches within the node",
                        client.namespace
                    )),
                    ..unknown
                }
            }
        }
    }
}

pub(super) fn workload<'s>(snapshot: &'s Snapshot, client: &Client) -> Option<&'s Arc<Workload>> {
    client.pod.as_ref()?;
    snapshot.workload(&name_of(client))
}

fn name_of(client: &Client) -> ObjectName {
    let pod = client.pod.clone().unwrap_or_default();
    ObjectName::new(Arc::clone(&client.namespace), pod)
}

/// Why the kernel leaves the connection alone, in the order of `ebpf/src/decide.rs`; `None`: it
/// hands it to the agent.
pub(super) fn left_alone(
    snapshot: &Snapshot,
    question: &Question,
    destination: &Destination,
) -> Option<String> {
    let client = workload(snapshot, &question.from);
    if let Some(client) = client
        && !client.enrolled
    {
        return Some(not_enrolled(snapshot, client, destination));
    }
    let dialled = match destination {
        Destination::Outside(outside) => return Some(not_the_meshs(outside)),
        Destination::Pod(address, _) => vec![address.ip()],
        Destination::Service(service) => service.service.vips.clone(),
        Destination::Headless(_) => Vec::new(),
    };
    let client = client?;
    let own = client.pod.own_ips();
    if dialled.iter().any(|ip| own.contains(ip)) {
        return Some("it is the client's own address".to_owned());
    }
    let skip = &client.pod.skip;
    if skip.outbound_ports.contains(&question.to.port) {
        let port = question.to.port;
        return Some(format!(
            "the client skips outbound port {port} (annotation)"
        ));
    }
    let skipped = |ip: &IpAddr| skip.outbound_cidrs.iter().find(|net| net.contains(ip));
    if let Some(net) = dialled.iter().find_map(skipped) {
        return Some(format!(
            "the client skips destinations in {net} (annotation)"
        ));
    }
    let family = |ip: &IpAddr| own.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
    if !dialled.is_empty() && !dialled.iter().any(family) {
        return Some("the client has no address of the destination's family".to_owned());
    }
    None
}

/// Whether the client would dial an IPv6 address: the first of the destination's that is of one of
/// its own families. It is its resolver's word where there are both.
pub(super) fn dials_ipv6(
    snapshot: &Snapshot,
    client: &Client,
    destination: &Destination,
    host: &str,
) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.to_canonical().is_ipv6();
    }
    let Destination::Service(service) = destination else {
        return false;
    };
    let own = workload(snapshot, client).map(|workload| workload.pod.own_ips());
    let mut vips = service.service.vips.iter();
    let fits =
        |vip: &&IpAddr| own.is_none_or(|own| own.iter().any(|own| own.is_ipv6() == vip.is_ipv6()));
    vips.find(fits).is_some_and(IpAddr::is_ipv6)
}

/// Its cause, what to do about it, and who would not let it in.
fn not_enrolled(snapshot: &Snapshot, client: &Workload, destination: &Destination) -> String {
    let pod = &client.pod;
    let name = &pod.name;
    let namespace = snapshot.namespaces().get(&name.namespace);
    let cause = if pod.finished {
        "it has ended".to_owned()
    } else if pod.host_network {
        "it is on the host's network, which is never captured".to_owned()
    } else if pod.foreign_sidecar {
        "it has another mesh's sidecar: take that away first".to_owned()
    } else if pod.mesh == Some(MeshLabel::Disabled) {
        format!("its own label {LABEL_MESH} is disabled: set it to enabled")
    } else if namespace.and_then(|namespace| namespace.mesh) == Some(MeshLabel::Disabled) {
        format!(
            "the label {LABEL_MESH} of namespace {} is disabled: set it, or the pod's own, to enabled",
            name.namespace
        )
    } else {
        format!("set the label {LABEL_MESH}: enabled on it or on its namespace")
    };
    let strict = strict_pods(snapshot, destination);
    let refused = match strict.is_empty() {
        true => String::new(),
        false => format!(
            ". It speaks plaintext, which {} {} (STRICT)",
            strict.join(", "),
            match strict.len() {
                1 => "refuses",
                _ => "refuse",
            }
        ),
    };
    format!("pod {name} is not enrolled: {cause}{refused}")
}

/// Some of the pods behind the destination that let no plaintext in.
fn strict_pods(snapshot: &Snapshot, destination: &Destination) -> Vec<String> {
    let refuses = |workload: &Workload, port| {
        workload.enrolled && !snapshot.mtls_mode(workload, port).allows_plaintext()
    };
    match destination {
        Destination::Pod(address, workload) if refuses(workload, address.port()) => {
            vec![workload.pod.name.to_string()]
        }
        Destination::Service(service) | Destination::Headless(service) => {
            let sets = service.endpoints.iter();
            let mut names: Vec<String> = sets
                .flat_map(|set| &set.endpoints)
                .filter_map(|endpoint| {
                    let workload = snapshot.workload_by_ip(endpoint.address)?;
                    refuses(workload, endpoint.port).then(|| workload.pod.name.to_string())
                })
                .collect();
            names.sort();
            names.dedup();
            names.truncate(NAMED_MAX);
            names
        }
        Destination::Pod(..) | Destination::Outside(_) => Vec::new(),
    }
}

fn not_the_meshs(outside: &Outside) -> String {
    match outside {
        Outside::Address(ip) if ip.is_loopback() => {
            "it is the client's own loopback address".to_owned()
        }
        Outside::Address(ip) => {
            format!("{ip} is no service's address and no captured pod's")
        }
        Outside::Pod(name) => format!(
            "pod {name} is not enrolled, and its own address was dialled: set the label {LABEL_MESH}: enabled on it"
        ),
        Outside::NoSuchService(name) => {
            format!("there is no service {name}, so that its name has no address")
        }
        Outside::Name => {
            "the name is none of a service of the cluster, so that its address is not the mesh's"
                .to_owned()
        }
    }
}
