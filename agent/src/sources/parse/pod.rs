//! `Pod`.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{
    address,
    field::{Errors, FieldReason, join},
    meta::{self, Meta},
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    pod::{
        ANNOTATION_AMBIENT, ANNOTATION_CAPTURED, ANNOTATION_NETNS, ANNOTATION_PID,
        ANNOTATION_SKIP_INBOUND_PORTS, ANNOTATION_SKIP_OUTBOUND_CIDRS,
        ANNOTATION_SKIP_OUTBOUND_PORTS, ANNOTATION_WEIGHT, NetnsRef, Pod, SkipRules,
    },
    service::WEIGHT_MAX,
};

/// Containers of other meshes: two captures of one connection do not work.
const FOREIGN_SIDECARS: [&str; 2] = ["istio-proxy", "linkerd-proxy"];
const LABEL_POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// The alphabet of Kubernetes' hashes (`rand.SafeEncodeString`), which spells no words.
const HASH_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
const HASH_BYTES_MIN: usize = 5;
/// A CronJob names its Jobs by their time in minutes since 1970.
const CRON_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    spec: Option<Spec<'a>>,
    #[serde(borrow, default)]
    status: Option<Status<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    node_name: Option<&'a str>,
    service_account_name: Option<&'a str>,
    host_network: Option<bool>,
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    init_containers: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    name: &'a str,
    restart_policy: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    phase: Option<&'a str>,
    #[serde(rename = "podIP")]
    pod_ip: Option<&'a str>,
    #[serde(borrow, rename = "podIPs")]
    pod_ips: Option<Vec<PodIp<'a>>>,
}

#[derive(Deserialize)]
struct PodIp<'a> {
    ip: &'a str,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Pod> {
    let object: Object<'_> = errors.shape(value)?;
    let (metadata, spec, status) = (
        object.metadata,
        object.spec.unwrap_or_default(),
        object.status.unwrap_or_default(),
    );
    let service_account = spec
        .service_account_name
        .filter(|name| !name.is_empty())
        .unwrap_or("default");
    if let Err(reason) = meta::subdomain(service_account) {
        errors.push("spec.serviceAccountName", reason);
    }
    Some(Pod {
        uid: match metadata.uid {
            Some(uid) => uid.into(),
            None => name.to_string().into(),
        },
        labels: strings.labels(metadata.labels()),
        node: strings.get(spec.node_name.unwrap_or_default()),
        service_account: strings.get(service_account),
        ips: ips(&status, errors),
        host_network: spec.host_network == Some(true),
        finished: matches!(status.phase, Some("Succeeded" | "Failed")),
        foreign_sidecar: has_foreign_sidecar(&spec),
        workload_name: workload_name(&metadata, &name, strings),
        mesh: metadata.mesh_label(errors),
        captured: captured(&metadata, errors),
        netns: netns(&metadata, errors),
        skip: skip_rules(&metadata, errors),
        weight: weight(&metadata, errors),
        name,
    })
}

fn ips(status: &Status<'_>, errors: &mut Errors) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    let mut add = |ip: Option<IpAddr>| ips.extend(ip.filter(|ip| !ips.contains(ip)));
    for (index, entry) in status.pod_ips.iter().flatten().enumerate() {
        add(address::ip(
            entry.ip,
            || format!("status.podIPs[{index}].ip"),
            errors,
        ));
    }
    if let Some(ip) = status.pod_ip.filter(|ip| !ip.is_empty()) {
        add(address::ip(ip, || "status.podIP".to_owned(), errors));
    }
    ips.shrink_to_fit();
    ips
}

/// An init container counts when it keeps running beside the app (`restartPolicy: Always`).
fn has_foreign_sidecar(spec: &Spec<'_>) -> bool {
    let beside = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy == Some("Always"));
    spec.containers
        .iter()
        .flatten()
        .chain(beside)
        .any(|container| FOREIGN_SIDECARS.contains(&container.name))
}

fn workload_name(metadata: &Meta<'_>, name: &ObjectName, strings: &mut Strings) -> Arc<str> {
    let Some(owner) = metadata.controller() else {
        return Arc::clone(&name.name);
    };
    let base = owner.name.rsplit_once('-');
    let name = match (owner.kind, base) {
        ("ReplicaSet", Some((base, hash))) => {
            // A ReplicaSet that no Deployment made has no hash in its name.
            let is_hash = match metadata.labels().get(LABEL_POD_TEMPLATE_HASH) {
                Some(template) => *template == hash,
                None => {
                    hash.len() >= HASH_BYTES_MIN && hash.chars().all(|c| HASH_LETTERS.contains(c))
                }
            };
            if is_hash { base } else { owner.name }
        }
        ("Job", Some((base, time)))
            if CRON_DIGITS.contains(&time.len()) && time.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base
        }
        _ => owner.name,
    };
    strings.get(name)
}

fn captured(metadata: &Meta<'_>, errors: &mut Errors) -> Option<bool> {
    match metadata.annotation(ANNOTATION_CAPTURED) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(value) => {
            let reason = FieldReason::NotOneOf {
                value: value.to_owned(),
                allowed: "true, false",
            };
            errors.push(join("metadata.annotations", ANNOTATION_CAPTURED), reason);
            None
        }
        None => (metadata.annotation(ANNOTATION_AMBIENT) == Some("enabled")).then_some(true),
    }
}

fn netns(metadata: &Meta<'_>, errors: &mut Errors) -> Option<NetnsRef> {
    if let Some(path) = metadata.annotation(ANNOTATION_NETNS) {
        if path.starts_with('/') {
            return Some(NetnsRef::Path(PathBuf::from(path)));
        }
        let reason = FieldReason::Path {
            value: path.to_owned(),
        };
        errors.push(join("metadata.annotations", ANNOTATION_NETNS), reason);
        return None;
    }
    let value = metadata.annotation(ANNOTATION_PID)?;
    // pid_t is signed.
    match value.parse::<i32>() {
        Ok(pid) if pid > 0 => Some(NetnsRef::Pid(pid.unsigned_abs())),
        _ => {
            let reason = FieldReason::ProcessId {
                value: value.to_owned(),
            };
            errors.push(join("metadata.annotations", ANNOTATION_PID), reason);
            None
        }
    }
}

fn weight(metadata: &Meta<'_>, errors: &mut Errors) -> Option<u16> {
    let value = metadata.annotation(ANNOTATION_WEIGHT)?;
    let is_whole = value.bytes().all(|byte| byte.is_ascii_digit());
    let weight = value.parse().ok().filter(|_| is_whole);
    let weight = weight.filter(|weight| *weight <= WEIGHT_MAX);
    if weight.is_none() {
        let reason = FieldReason::Weight {
            value: value.to_owned(),
            max: WEIGHT_MAX,
        };
        errors.push(join("metadata.annotations", ANNOTATION_WEIGHT), reason);
    }
    weight
}

fn skip_rules(metadata: &Meta<'_>, errors: &mut Errors) -> SkipRules {
    let ports = |annotation, errors: &mut Errors| {
        let value = metadata.annotation(annotation).unwrap_or_default();
        address::port_list(value, &join("metadata.annotations", annotation), errors)
    };
    let cidrs = metadata
        .annotation(ANNOTATION_SKIP_OUTBOUND_CIDRS)
        .unwrap_or_default();
    SkipRules {
        inbound_ports: ports(ANNOTATION_SKIP_INBOUND_PORTS, errors),
        outbound_ports: ports(ANNOTATION_SKIP_OUTBOUND_PORTS, errors),
        outbound_cidrs: address::cidr_list(
            cidrs,
            &join("metadata.annotations", ANNOTATION_SKIP_OUTBOUND_CIDRS),
            errors,
        ),
    }
}
