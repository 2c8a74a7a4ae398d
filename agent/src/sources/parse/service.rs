//! `Service`.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::{
    address,
    field::{Errors, FieldReason},
    meta,
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    service::{Service, ServicePort},
    traffic_policy::Locality,
};

/// `clusterIP` of a headless service.
const HEADLESS: &str = "None";

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    spec: Option<Spec<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<&'a str>,
    #[serde(borrow, rename = "clusterIPs")]
    cluster_ips: Option<Vec<&'a str>>,
    #[serde(borrow)]
    ports: Option<Vec<Port<'a>>>,
    traffic_distribution: Option<&'a str>,
    internal_traffic_policy: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port<'a> {
    name: Option<&'a str>,
    port: i64,
    protocol: Option<&'a str>,
    app_protocol: Option<&'a str>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Service> {
    let object: Object<'_> = errors.shape(value)?;
    if let Err(reason) = meta::label(&name.name) {
        errors.push("metadata.name", reason);
    }
    let spec = object.spec.unwrap_or_default();
    Some(Service {
        distribution: distribution(spec.traffic_distribution),
        node_local: spec.internal_traffic_policy == Some("Local"),
        vips: vips(&spec, errors),
        ports: ports(spec.ports.as_deref().unwrap_or_default(), strings, errors),
        name,
    })
}

/// KEP-4444, KEP-3015. It is a hint: a value that is not known, as of a later Kubernetes, says
/// nothing.
fn distribution(word: Option<&str>) -> Locality {
    match word {
        Some("PreferClose" | "PreferSameZone") => Locality::PreferZone,
        Some("PreferSameNode") => Locality::PreferNode,
        Some(_) | None => Locality::None,
    }
}

fn vips(spec: &Spec<'_>, errors: &mut Errors) -> Vec<IpAddr> {
    let mut vips = Vec::new();
    let mut add = |value: &str, path: String, errors: &mut Errors| {
        if !value.is_empty() && value != HEADLESS {
            vips.extend(address::ip(value, || path, errors).filter(|ip| !vips.contains(ip)));
        }
    };
    for (index, value) in spec.cluster_ips.iter().flatten().enumerate() {
        add(value, format!("spec.clusterIPs[{index}]"), errors);
    }
    add(
        spec.cluster_ip.unwrap_or_default(),
        "spec.clusterIP".to_owned(),
        errors,
    );
    vips.shrink_to_fit();
    vips
}

/// Ports that are not TCP are left out: they never reach the agent.
fn ports(ports: &[Port<'_>], strings: &mut Strings, errors: &mut Errors) -> Vec<ServicePort> {
    let mut taken: Vec<ServicePort> = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{index}].{field}");
        let name = port.name.unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            errors.push(at("name"), FieldReason::Required);
        }
        let Some(number) = address::port(port.port, || at("port"), errors) else {
            continue;
        };
        if port.protocol.is_some_and(|protocol| protocol != "TCP") {
            continue;
        }
        if taken.iter().any(|other| other.port == number) {
            errors.push(
                at("port"),
                FieldReason::Twice {
                    value: number.to_string(),
                },
            );
        }
        if !name.is_empty() && taken.iter().any(|other| other.name.as_ref() == name) {
            errors.push(
                at("name"),
                FieldReason::Twice {
                    value: name.to_owned(),
                },
            );
        }
        taken.push(ServicePort {
            name: strings.get(name),
            port: number,
            app_protocol: port.app_protocol.map(|protocol| strings.get(protocol)),
        });
    }
    taken.shrink_to_fit();
    taken
}
