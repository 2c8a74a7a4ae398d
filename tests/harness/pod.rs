//! Pods: a namespace in the network, and what the manifests say of it.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    ca::TRUST_DOMAIN,
    fabric::Fabric,
    manifests::Endpoint,
    mesh::{Mesh, NAMESPACE, lock},
    netns::Netns,
    process::{Exec, Place},
};

/// A pod to be.
pub struct PodBuilder<'a> {
    mesh: &'a Mesh,
    name: String,
    namespace: String,
    node: Option<String>,
    ips: Option<[IpAddr; 2]>,
    manifest: Value,
}

impl<'a> PodBuilder<'a> {
    pub(crate) fn new(mesh: &'a Mesh, name: &str, node: Option<&str>) -> Self {
        Self {
            mesh,
            name: name.to_owned(),
            namespace: NAMESPACE.to_owned(),
            node: node.map(str::to_owned),
            ips: None,
            manifest: json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"labels": {"app": name}, "annotations": {}},
                "spec": {"nodeName": node, "serviceAccountName": name, "containers": [{"name": "app"}]},
            }),
        }
    }

    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Addresses that another pod had.
    #[must_use]
    pub fn ips(mut self, ips: [IpAddr; 2]) -> Self {
        self.ips = Some(ips);
        self
    }

    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.manifest["metadata"]["labels"][key] = json!(value);
        self
    }

    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.manifest["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// Makes it, in the mesh by its own label.
    pub fn enrolled(self) -> Pod {
        self.label("weir.dev/mesh", "enabled").listed()
    }

    /// Makes it, with a manifest but without the label.
    pub fn listed(self) -> Pod {
        let pod = self.unlisted();
        pod.apply();
        pod
    }

    /// Makes it without telling the mesh; [`Pod::apply`] does that.
    pub fn unlisted(self) -> Pod {
        let Self {
            mesh,
            name,
            namespace,
            node,
            ips,
            mut manifest,
        } = self;
        let (place, veth, ips) = mesh.fabric().pod_place(&name, node.as_deref(), ips);
        manifest["metadata"]["name"] = json!(name);
        manifest["metadata"]["namespace"] = json!(namespace);
        manifest["metadata"]["annotations"]["weir.dev/netns"] = json!(place.netns.path());
        manifest["status"] = json!({
            "podIP": ips[0],
            "podIPs": ips.map(|ip| json!({"ip": ip})),
        });
        let pod = Pod(Arc::new(Inner {
            name,
            namespace,
            node,
            place,
            veth,
            ips,
            manifest: Mutex::new(manifest),
            fabric: Arc::clone(mesh.fabric()),
        }));
        mesh.adopt(pod.clone());
        pod
    }
}

/// A pod. Clones are handles of the same one.
#[derive(Clone)]
pub struct Pod(Arc<Inner>);

struct Inner {
    name: String,
    namespace: String,
    node: Option<String>,
    place: Place,
    veth: String,
    ips: [IpAddr; 2],
    manifest: Mutex<Value>,
    fabric: Arc<Fabric>,
}

impl Pod {
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    pub fn netns(&self) -> &Netns {
        &self.0.place.netns
    }

    pub fn ipv4(&self) -> IpAddr {
        self.0.ips[0]
    }

    pub fn ipv6(&self) -> IpAddr {
        self.0.ips[1]
    }

    pub fn ips(&self) -> [IpAddr; 2] {
        self.0.ips
    }

    pub fn v4(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ipv4(), port)
    }

    pub fn v6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ipv6(), port)
    }

    /// Its identity in the mesh; the service account bears the pod's name.
    pub fn principal(&self) -> String {
        format!(
            "spiffe://{TRUST_DOMAIN}/ns/{}/sa/{}",
            self.0.namespace, self.0.name
        )
    }

    /// A folder of its own for what its programs keep.
    pub fn dir(&self) -> PathBuf {
        let dir = self.0.fabric.dir().join(&self.0.name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// A command inside the pod.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Exec {
        self.0.place.exec(program)
    }

    pub(crate) fn veth(&self) -> &str {
        &self.0.veth
    }

    /// As an endpoint of a service, of either family.
    pub fn endpoints(&self) -> [Endpoint; 2] {
        self.0.ips.map(|address| Endpoint {
            pod: Some(self.0.name.clone()),
            node: self.0.node.clone(),
            ..Endpoint::from(address)
        })
    }

    /// Makes it deaf and mute towards all others, as a node does that has died: nobody refuses, packets go
    /// nowhere. What happens within its node is not touched.
    pub fn vanish(&self) {
        self.routes("add");
    }

    pub fn come_back(&self) {
        self.routes("del");
    }

    /// Routes that are more exact than the interface's own.
    fn routes(&self, verb: &str) {
        self.0.place.netns.ip(&format!(
            "route {verb} blackhole 10.9.0.0/17\nroute {verb} blackhole 10.9.128.0/17\n\
             route {verb} blackhole fd00:9::/65\nroute {verb} blackhole fd00:9::8000:0:0:0/65\n"
        ));
    }

    pub fn manifest(&self) -> Value {
        lock(&self.0.manifest).clone()
    }

    /// Writes its manifest.
    pub fn apply(&self) {
        self.0.fabric.manifests.apply(&self.manifest());
    }

    /// Removes its manifest; the pod itself stays.
    pub fn delete(&self) {
        self.0.fabric.manifests.delete(&self.manifest());
    }

    /// Changes its manifest, live.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        change(&mut lock(&self.0.manifest));
        self.apply();
    }

    pub fn enrol(&self, enrolled: bool) {
        let value = if enrolled { "enabled" } else { "disabled" };
        self.edit(|pod| pod["metadata"]["labels"]["weir.dev/mesh"] = json!(value));
    }

    pub fn annotate(&self, key: &str, value: &str) {
        self.edit(|pod| pod["metadata"]["annotations"][key] = json!(value));
    }
}
