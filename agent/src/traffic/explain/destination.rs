//! What a host is, seen from a client's namespace.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::Serialize;

use super::question::Target;
use crate::model::{
    names::{CLUSTER_DOMAIN, ObjectName},
    pod::Workload,
    service::ServiceState,
    snapshot::{Destination as Business, Snapshot},
};

/// What the client would connect to.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// The service's own address.
    Service(Arc<ServiceState>),
    /// A service without one: its name stands for its pods' addresses.
    Headless(Arc<ServiceState>),
    /// A pod's own address.
    Pod(SocketAddr, Arc<Workload>),
    /// Not the mesh's business.
    Outside(Outside),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// An address that belongs to no service and no pod.
    Address(IpAddr),
    /// A pod that is not enrolled.
    Pod(ObjectName),
    /// A name of the cluster's domain, and no service has it.
    NoSuchService(ObjectName),
    /// A name of somewhere else.
    Name,
}

pub(super) fn find(snapshot: &Snapshot, to: &Target, namespace: &str) -> Destination {
    match to.host.parse::<IpAddr>() {
        Ok(ip) => of_address(snapshot, SocketAddr::new(ip.to_canonical(), to.port)),
        Err(_) => of_name(snapshot, &to.host, namespace),
    }
}

/// As the kernel looks at what is dialled, and then the agent.
fn of_address(snapshot: &Snapshot, dialled: SocketAddr) -> Destination {
    let ip = dialled.ip();
    let workload = snapshot.workload_by_ip(ip);
    match (snapshot.destinations().get(&ip), workload) {
        (Some(Business::Service), _) => match snapshot.service_by_vip(ip) {
            Some(service) => Destination::Service(Arc::clone(service)),
            None => Destination::Outside(Outside::Address(ip)),
        },
        (Some(Business::Pod), Some(workload)) => Destination::Pod(dialled, Arc::clone(workload)),
        (_, Some(workload)) => Destination::Outside(Outside::Pod(workload.pod.name.clone())),
        (_, None) => Destination::Outside(Outside::Address(ip)),
    }
}

fn of_name(snapshot: &Snapshot, host: &str, namespace: &str) -> Destination {
    let Some(name) = service_name(host, namespace) else {
        return Destination::Outside(Outside::Name);
    };
    match snapshot.service(&name) {
        Some(service) if service.service.vips.is_empty() => {
            Destination::Headless(Arc::clone(service))
        }
        Some(service) => Destination::Service(Arc::clone(service)),
        None => Destination::Outside(Outside::NoSuchService(name)),
    }
}

/// The service that a name stands for, by a pod's search domains: `NS.svc.DOMAIN`, `svc.DOMAIN`,
/// `DOMAIN` (Kubernetes, "DNS for Services and Pods").
fn service_name(host: &str, namespace: &str) -> Option<ObjectName> {
    let in_domain = host.strip_suffix(CLUSTER_DOMAIN);
    let in_domain = in_domain.and_then(|name| name.strip_suffix('.'));
    let labels: Vec<&str> = in_domain.unwrap_or(host).split('.').collect();
    match (&labels[..], in_domain) {
        (&[name], None) => Some(ObjectName::new(namespace, name)),
        (&[name, namespace], None) | (&[name, namespace, "svc"], _) => {
            Some(ObjectName::new(namespace, name))
        }
        _ => None,
    }
}

/// What the host of the URL is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationPlan {
    pub service: Option<String>,
    pub pod: Option<String>,
    /// In a sentence.
    pub is: String,
}

pub(super) fn describe(destination: &Destination, port: u16) -> DestinationPlan {
    let none = DestinationPlan {
        service: None,
        pod: None,
        is: String::new(),
    };
    match destination {
        Destination::Service(service) => {
            let vips = &service.service.vips;
            let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
            let name = &service.service.name;
            DestinationPlan {
                service: Some(name.to_string()),
                is: format!("service {name} ({}), port {port}", vips.join(", ")),
                ..none
            }
        }
        Destination::Headless(service) => {
            let name = &service.service.name;
            DestinationPlan {
                service: Some(name.to_string()),
                is: format!(
                    "service {name}, headless: its name stands for its pods' own addresses, to which no route applies"
                ),
                ..none
            }
        }
        Destination::Pod(address, workload) => {
            let name = &workload.pod.name;
            DestinationPlan {
                pod: Some(name.to_string()),
                is: format!("pod {name}, by its own address {address}: no route applies"),
                ..none
            }
        }
        Destination::Outside(outside) => DestinationPlan {
            is: match outside {
                Outside::Address(ip) => format!("{ip} belongs to no service and no captured pod"),
                Outside::Pod(name) => format!("pod {name}, which is not enrolled"),
                Outside::NoSuchService(name) => format!("there is no service {name}"),
                Outside::Name => "no name of a service of the cluster".to_owned(),
            },
            ..none
        },
    }
}
