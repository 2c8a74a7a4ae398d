//! The folder of manifests that all agents of a mesh watch.

use std::{
    fmt::Write,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value, json};

/// Writes objects, one a file.
#[derive(Debug)]
pub struct Manifests {
    dir: PathBuf,
}

impl Manifests {
    pub(crate) fn create(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates or replaces an object.
    pub fn apply(&self, object: &Value) {
        self.write(&file_name(object), &to_yaml(object));
    }

    pub fn delete(&self, object: &Value) {
        self.remove(&file_name(object));
    }

    /// Replaces a whole file at once: no reader sees half of it.
    pub fn write(&self, file: &str, text: &str) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let temporary = self
            .dir
            .join(format!(".new-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, self.dir.join(file)).unwrap();
    }

    /// Overwrites a file in place, as an editor does that is killed half-way.
    pub fn write_in_place(&self, file: &str, text: &str) {
        fs::write(self.dir.join(file), text).unwrap();
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.dir.join(file)).unwrap();
    }
}

/// `pod-shop-client.yaml`
pub fn file_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("cluster").to_owned();
    let metadata = &object["metadata"];
    let (kind, namespace, name) = (
        text(&object["kind"]).to_lowercase(),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
    );
    format!("{kind}-{namespace}-{name}.yaml")
}

pub fn namespace(name: &str, mesh: Option<&str>) -> Value {
    let labels: Map<String, Value> = mesh
        .map(|mesh| ("weir.dev/mesh".to_owned(), mesh.into()))
        .into_iter()
        .collect();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// The mesh's settings: every connection in the access log, which the scenarios read.
pub fn mesh_config() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "MeshConfig",
        "metadata": {"name": "mesh"},
        "spec": {"accessLog": {"mode": "all", "format": "json"}},
    })
}

/// A port of a Service.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub port: u16,
    /// The pods' port.
    pub target: u16,
    pub app_protocol: Option<String>,
}

pub fn service(namespace: &str, name: &str, vips: &[IpAddr], ports: &[Port]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|port| {
            let mut object = json!({"name": port.name, "port": port.port, "targetPort": port.target, "protocol": "TCP"});
            if let Some(protocol) = &port.app_protocol {
                object["appProtocol"] = json!(protocol);
            }
            object
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": vips.first(), "clusterIPs": vips, "ports": ports},
    })
}

/// One endpoint of a slice.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: IpAddr,
    /// Name of the pod, where there is one.
    pub pod: Option<String>,
    pub node: Option<String>,
    pub zone: Option<String>,
    pub ready: bool,
    /// On its way out, and serving until it has gone; `ready` is false then.
    pub terminating: bool,
}

impl Endpoint {
    #[must_use]
    pub fn in_zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.to_owned());
        self
    }

    #[must_use]
    pub fn terminating(mut self) -> Self {
        (self.ready, self.terminating) = (false, true);
        self
    }
}

impl From<IpAddr> for Endpoint {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            pod: None,
            node: None,
            zone: None,
            ready: true,
            terminating: false,
        }
    }
}

/// The endpoints of one family.
pub fn endpoint_slice(
    namespace: &str,
    service: &str,
    ports: &[Port],
    ipv6: bool,
    endpoints: &[Endpoint],
) -> Value {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    let ports: Vec<_> = ports
        .iter()
        .map(|port| json!({"name": port.name, "port": port.target, "protocol": "TCP"}))
        .collect();
    let endpoints: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.address.is_ipv6() == ipv6)
        .map(|endpoint| {
            let mut object = json!({
                "addresses": [endpoint.address],
                "conditions": {
                    "ready": endpoint.ready,
                    "serving": endpoint.ready || endpoint.terminating,
                    "terminating": endpoint.terminating,
                },
            });
            if let Some(pod) = &endpoint.pod {
                object["targetRef"] = json!({"kind": "Pod", "name": pod, "namespace": namespace});
            }
            if let Some(node) = &endpoint.node {
                object["nodeName"] = json!(node);
            }
            if let Some(zone) = &endpoint.zone {
                object["zone"] = json!(zone);
            }
            object
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{}", family.to_lowercase()),
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    })
}

/// A node of a zone.
pub fn node(name: &str, zone: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
    })
}

/// `target`: a Service, or a [`rule`]. `spec`: as in the manifest, less its targets.
pub fn traffic_policy(namespace: &str, name: &str, target: Value, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["targetRefs"] = json!([target]);
    json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// A named rule of an HTTPRoute as a policy's target.
pub fn rule(route: &str, name: &str) -> Value {
    json!({
        "group": "gateway.networking.k8s.io",
        "kind": "HTTPRoute",
        "name": route,
        "sectionName": name,
    })
}

/// `selector`: the label `app` of the pods it is for; none: the namespace. `ports`: exceptions.
pub fn peer_authentication(
    namespace: &str,
    name: &str,
    selector: Option<&str>,
    mode: &str,
    ports: &[(u16, &str)],
) -> Value {
    let mut spec = json!({"mtls": {"mode": mode}});
    if let Some(app) = selector {
        spec["selector"] = json!({"matchLabels": {"app": app}});
    }
    if !ports.is_empty() {
        let ports: Map<_, _> = ports
            .iter()
            .map(|(port, mode)| (port.to_string(), json!({"mode": mode})))
            .collect();
        spec["portLevelMtls"] = ports.into();
    }
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// `rules`: as in the manifest. `parents`: see [`parent`]; a single one or a list.
pub fn http_route(namespace: &str, name: &str, parents: Value, rules: Value) -> Value {
    route("v1", "HTTPRoute", namespace, name, parents, rules)
}

pub fn grpc_route(namespace: &str, name: &str, parents: Value, rules: Value) -> Value {
    route("v1", "GRPCRoute", namespace, name, parents, rules)
}

/// The one rule of a TCPRoute has nothing but backends.
pub fn tcp_route(namespace: &str, name: &str, parents: Value, backends: Value) -> Value {
    let rules = json!([{"backendRefs": backends}]);
    route("v1alpha2", "TCPRoute", namespace, name, parents, rules)
}

pub fn tls_route(
    namespace: &str,
    name: &str,
    parents: Value,
    hostnames: &[&str],
    backends: Value,
) -> Value {
    let rules = json!([{"backendRefs": backends}]);
    let mut route = route("v1", "TLSRoute", namespace, name, parents, rules);
    route["spec"]["hostnames"] = json!(hostnames);
    route
}

fn route(
    version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    parents: Value,
    rules: Value,
) -> Value {
    let parents = match parents {
        Value::Array(parents) => parents,
        parent => vec![parent],
    };
    json!({
        "apiVersion": format!("gateway.networking.k8s.io/{version}"),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"parentRefs": parents, "rules": rules},
    })
}

/// A Service as a route's parent, on every port of it; add `port` or `namespace` where they count.
pub fn parent(service: &str) -> Value {
    json!({"group": "", "kind": "Service", "name": service})
}

/// A Service on port 80 as a backend of weight 1; add `weight`, `namespace`, `filters` where they count.
pub fn backend(service: &str) -> Value {
    json!({"name": service, "port": 80})
}

/// Routes of `kind` in `from` may refer to the services of `namespace`.
pub fn reference_grant(namespace: &str, name: &str, kind: &str, from: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": kind, "namespace": from}],
            "to": [{"group": "", "kind": "Service"}],
        },
    })
}

/// Block style, as people write it; scalars as in JSON, which is YAML too.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    emit(value, 0, &mut out);
    out
}

fn emit(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(out, "{:indent$}{}:", "", Value::from(key.as_str()));
                emit_below(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                emit_below(item, indent, out);
            }
        }
        scalar => {
            let _ = writeln!(out, "{:indent$}{scalar}", "");
        }
    }
}

fn emit_below(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            emit(value, indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            emit(value, indent + 2, out);
        }
        scalar => {
            let _ = writeln!(out, " {scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_block_style() {
        let object = json!({"a": {"b": [1, {"c": "x: y"}], "d": {}}, "e": null});
        let yaml =
            "\"a\":\n  \"b\":\n    - 1\n    -\n      \"c\": \"x: y\"\n  \"d\": {}\n\"e\": null\n";
        assert_eq!(to_yaml(&object), yaml);
    }

    #[test]
    fn a_file_is_named_after_its_object() {
        assert_eq!(
            file_name(&namespace("shop", None)),
            "namespace-cluster-shop.yaml"
        );
        assert_eq!(
            file_name(&service("shop", "web", &[], &[])),
            "service-shop-web.yaml"
        );
    }
}
