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

/// `ports`: service port → pod's port, each with a name of its own.
pub fn service(namespace: &str, name: &str, vips: &[IpAddr], ports: &[(u16, u16)]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|(port, target)| json!({"name": format!("tcp-{port}"), "port": port, "targetPort": target, "protocol": "TCP", "appProtocol": "tcp"}))
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
    pub ready: bool,
}

impl From<IpAddr> for Endpoint {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            pod: None,
            node: None,
            ready: true,
        }
    }
}

/// The endpoints of one family.
pub fn endpoint_slice(
    namespace: &str,
    service: &str,
    ports: &[(u16, u16)],
    ipv6: bool,
    endpoints: &[Endpoint],
) -> Value {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    let ports: Vec<_> = ports
        .iter()
        .map(|(port, target)| json!({"name": format!("tcp-{port}"), "port": target, "protocol": "TCP"}))
        .collect();
    let endpoints: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.address.is_ipv6() == ipv6)
        .map(|endpoint| {
            let mut object = json!({
                "addresses": [endpoint.address],
                "conditions": {"ready": endpoint.ready, "serving": endpoint.ready, "terminating": false},
            });
            if let Some(pod) = &endpoint.pod {
                object["targetRef"] = json!({"kind": "Pod", "name": pod, "namespace": namespace});
            }
            if let Some(node) = &endpoint.node {
                object["nodeName"] = json!(node);
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
