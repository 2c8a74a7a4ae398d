//! The configuration in force, as JSON for people (`/debug/config`).

mod routes;

use serde_json::{Value, json};

use crate::model::{
    mesh::{AccessLogFormat, AccessLogMode, MeshConfig, OtlpProtocol, PerNamespace, Tracing},
    pod::{MeshLabel, Namespace, Workload},
    policy::{MtlsMode, PeerAuthentication},
    service::{EndpointSet, ServicePort, ServiceState, WEIGHT},
    snapshot::Snapshot,
    traffic_policy::PolicyConflict,
};

pub(super) fn describe(snapshot: &Snapshot) -> Value {
    json!({
        "generation": snapshot.generation,
        "rejected": snapshot.rejected,
        "zone": snapshot.zone.as_deref(),
        "counts": {
            "namespaces": snapshot.namespaces().len(),
            "workloads": snapshot.workloads().len(),
            "localWorkloads": snapshot.local().len(),
            "services": snapshot.services().len(),
            "routedServices": snapshot.service_routes().len(),
            "destinations": snapshot.destinations().len(),
            "peerAuthentications": snapshot.peer_authentications().len(),
            "policyConflicts": snapshot.policy_conflicts().len(),
        },
        "mesh": mesh(&snapshot.mesh),
        "namespaces": snapshot.namespaces().values().map(|n| namespace(n)).collect::<Value>(),
        "workloads": snapshot.workloads().values().map(|w| workload(w)).collect::<Value>(),
        "services": snapshot.services().values().map(|s| service(s)).collect::<Value>(),
        "routes": snapshot
            .service_routes()
            .iter()
            .map(|(name, service)| routes::service(name, service))
            .collect::<Value>(),
        "peerAuthentications":
            snapshot.peer_authentications().values().map(|p| peer_authentication(p)).collect::<Value>(),
        "policyConflicts":
            snapshot.policy_conflicts().values().map(|c| policy_conflict(c)).collect::<Value>(),
    })
}

fn mesh(mesh: &MeshConfig) -> Value {
    json!({
        "rootNamespace": *mesh.root_namespace,
        "trustDomainAliases": strings(&mesh.trust_domain_aliases),
        "accessLog": {
            "mode": per_namespace(&mesh.access_log.mode, |mode| json!(log_mode(*mode))),
            "format": match mesh.access_log.format {
                AccessLogFormat::Json => "json",
                AccessLogFormat::Text => "text",
            },
            "fields": mesh.access_log.fields.iter().map(|field| field.as_str()).collect::<Value>(),
        },
        "tracing": mesh.tracing.as_ref().map(tracing),
    })
}

fn log_mode(mode: AccessLogMode) -> String {
    match mode {
        AccessLogMode::Off => "off".to_owned(),
        AccessLogMode::Errors => "errors".to_owned(),
        AccessLogMode::Sampled(share) => format!("sampled {}%", share.percent()),
        AccessLogMode::All => "all".to_owned(),
    }
}

fn tracing(tracing: &Tracing) -> Value {
    let collector = &tracing.collector;
    json!({
        "endpoint": format!("http://{}:{}", collector.host, collector.port),
        "path": *collector.path,
        "protocol": match collector.protocol {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::Http => "http",
        },
        "sampling": per_namespace(&tracing.sampling, |share| json!(share.percent())),
    })
}

fn per_namespace<T>(setting: &PerNamespace<T>, shown: impl Fn(&T) -> Value) -> Value {
    let namespaces = setting.namespaces.iter();
    let namespaces = namespaces.map(|(name, own)| (name.to_string(), shown(own)));
    json!({
        "default": shown(&setting.default),
        "namespaces": namespaces.collect::<Value>(),
    })
}

fn namespace(namespace: &Namespace) -> Value {
    json!({ "name": *namespace.name, "mesh": label(namespace.mesh) })
}

pub(super) fn workload(workload: &Workload) -> Value {
    let pod = &workload.pod;
    json!({
        "name": pod.name.to_string(),
        "uid": *pod.uid,
        "workload": *pod.workload_name,
        "node": *pod.node,
        "identity": workload.identity.as_str(),
        "ips": strings(&pod.ips),
        "enrolled": workload.enrolled,
        "tunnelled": workload.tunnelled(),
        "captured": pod.captured,
        "mesh": label(pod.mesh),
        "hostNetwork": pod.host_network,
        "finished": pod.finished,
        "foreignSidecar": pod.foreign_sidecar,
        "skip": {
            "inboundPorts": pod.skip.inbound_ports,
            "outboundPorts": pod.skip.outbound_ports,
            "outboundCidrs": strings(&pod.skip.outbound_cidrs),
        },
    })
}

pub(super) fn service(state: &ServiceState) -> Value {
    let service = &state.service;
    let ports = service
        .ports
        .iter()
        .zip(&state.endpoints)
        .map(|(port, set)| service_port(port, set));
    json!({
        "name": service.name.to_string(),
        "vips": strings(&service.vips),
        "ports": ports.collect::<Value>(),
    })
}

fn service_port(port: &ServicePort, set: &EndpointSet) -> Value {
    let endpoints = set.endpoints.iter().enumerate().map(|(index, endpoint)| {
        let place = set.places.get(index).cloned().unwrap_or_default();
        json!({
            "address": std::net::SocketAddr::from((endpoint.address, endpoint.port)).to_string(),
            "ready": index < set.ready,
            "node": place.node.as_deref(),
            "zone": place.zone.as_deref(),
            "weight": place.weight.unwrap_or(WEIGHT),
        })
    });
    json!({
        "name": *port.name,
        "port": port.port,
        "appProtocol": port.app_protocol.as_deref(),
        "endpoints": endpoints.collect::<Value>(),
    })
}

fn peer_authentication(policy: &PeerAuthentication) -> Value {
    let ports = policy
        .ports
        .iter()
        .map(|(port, mode)| (port.to_string(), json!(mtls(*mode))));
    let selector = policy.selector.as_ref().map(|labels| {
        labels
            .iter()
            .map(|(key, value)| (key.to_string(), json!(**value)))
            .collect::<Value>()
    });
    json!({
        "name": policy.name.to_string(),
        "selector": selector,
        "mode": mtls(policy.mode),
        "ports": ports.collect::<Value>(),
    })
}

fn policy_conflict(conflict: &PolicyConflict) -> Value {
    json!({
        "target": conflict.target.to_string(),
        "winner": conflict.winner.to_string(),
        "losers": strings(&conflict.losers),
    })
}

fn mtls(mode: Option<MtlsMode>) -> &'static str {
    match mode {
        None => "UNSET",
        Some(MtlsMode::Permissive) => "PERMISSIVE",
        Some(MtlsMode::Strict) => "STRICT",
        Some(MtlsMode::Disable) => "DISABLE",
    }
}

fn label(label: Option<MeshLabel>) -> Option<&'static str> {
    label.map(|label| match label {
        MeshLabel::Enabled => "enabled",
        MeshLabel::Disabled => "disabled",
    })
}

fn strings<T: ToString>(items: &[T]) -> Value {
    items.iter().map(ToString::to_string).collect()
}
