//! Which endpoints are better for being near: `trafficDistribution` and `internalTrafficPolicy` of the
//! Service, `loadBalancer.locality` of the policy.

use serde_json::{Value, json};
use weir_tests::{
    Mesh, Pod, Proc, ServiceHandle, eventually,
    manifests::{self, Endpoint},
};

use super::{SOON, assert_all_well, tally};
use crate::http::{ask, outcome};

/// Three nodes in two zones, an application and a client on each: `app-n1` and `client-n1` in zone
/// `a`, those of `n2` and `n3` in `b`.
struct Zones {
    clients: Vec<Pod>,
    pods: Vec<Pod>,
    apps: Vec<Proc>,
    mesh: Mesh,
}

const NODES: [(&str, &str); 3] = [("n1", "a"), ("n2", "b"), ("n3", "b")];

impl Zones {
    fn new() -> Self {
        let mesh = Mesh::new(3);
        let pods = |kind: &str| -> Vec<_> {
            let nodes = NODES.iter();
            nodes
                .map(|(node, _)| mesh.pod(&format!("{kind}-{node}"), node).enrolled())
                .collect()
        };
        let (clients, pods) = (pods("client"), pods("app"));
        for (node, zone) in NODES {
            mesh.apply(&manifests::node(node, zone));
        }
        let apps = pods.iter().map(|pod| pod.http(8080)).collect();
        Self {
            clients,
            pods,
            apps,
            mesh,
        }
    }

    /// Over these applications, with `spec` beside the Service's own.
    fn service(&self, name: &str, apps: &[usize], spec: &Value) -> ServiceHandle {
        let service = self.mesh.http_service(name, &[]);
        let mut manifest = service.manifest();
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        self.mesh.apply(&manifest);
        service.set_endpoints(&self.endpoints(apps));
        service
    }

    fn endpoints(&self, apps: &[usize]) -> Vec<Endpoint> {
        let of_app = |&app: &usize| {
            let zone = NODES[app].1;
            self.pods[app]
                .endpoints()
                .map(|endpoint| endpoint.in_zone(zone))
        };
        apps.iter().flat_map(of_app).collect()
    }

    /// Who answers each of the clients.
    fn served_by(&self, service: &ServiceHandle) -> Vec<Vec<String>> {
        let servers = self.clients.iter().map(|client| {
            let answers = ask(client, service, "GET /").times(60).send_all();
            tally(&answers).into_keys().collect()
        });
        servers.collect()
    }
}

fn owned(served: &[&[&str]]) -> Vec<Vec<String>> {
    served
        .iter()
        .map(|servers| servers.iter().map(|&server| server.to_owned()).collect())
        .collect()
}

#[test]
fn the_near_ones_are_asked_first() {
    let zones = Zones::new();
    let all = [0, 1, 2];
    let plain = zones.service("plain", &all, &json!({}));
    let close = zones.service(
        "close",
        &all,
        &json!({"trafficDistribution": "PreferClose"}),
    );
    let node = zones.service(
        "node",
        &all,
        &json!({"trafficDistribution": "PreferSameNode"}),
    );
    let policy = zones.service("policy", &all, &json!({}));
    let spec = json!({"loadBalancer": {"locality": "prefer-zone"}});
    let parent = manifests::parent("policy");
    zones
        .mesh
        .apply(&manifests::traffic_policy("shop", "policy", parent, &spec));
    zones.mesh.start_agents();

    let everybody: &[&str] = &["app-n1", "app-n2", "app-n3"];
    assert_eq!(zones.served_by(&plain), owned(&[everybody; 3]));
    let of_zone: [&[&str]; 3] = [&["app-n1"], &["app-n2", "app-n3"], &["app-n2", "app-n3"]];
    assert_eq!(zones.served_by(&close), owned(&of_zone));
    assert_eq!(zones.served_by(&policy), owned(&of_zone));
    let of_node: [&[&str]; 3] = [&["app-n1"], &["app-n2"], &["app-n3"]];
    assert_eq!(zones.served_by(&node), owned(&of_node));

    // Of another zone than its node, as the slice says it.
    close.set_endpoints(&zones.endpoints(&[1, 2]));
    ask(&zones.clients[0], &close, "GET /").until("none is near", |answer| {
        answer.status == 200 && answer.server() != "app-n1"
    });
}

/// Near is no use where nobody is well.
#[test]
fn who_is_far_helps_out() {
    let mut zones = Zones::new();
    let close = zones.service(
        "close",
        &[0, 1, 2],
        &json!({"trafficDistribution": "PreferClose"}),
    );
    zones.mesh.start_agents();
    let client = &zones.clients[0];
    let ask_many = |count| ask(client, &close, "GET /").times(count).send_all();
    assert_eq!(tally(&ask_many(30))["app-n1"], 30);

    // It dies: nothing was sent, so nobody notices.
    drop(zones.apps.remove(0));
    let answers = ask_many(100);
    assert_all_well(&answers);
    assert_eq!(tally(&answers).len(), 2, "{:?}", tally(&answers));
    // It comes back, and is near again.
    zones.apps.push(zones.pods[0].http(8080));
    eventually("the near one serves again", SOON * 2, || {
        let seen = tally(&ask_many(20));
        (seen.get("app-n1") == Some(&20)).then_some(()).ok_or(seen)
    });
}

#[test]
fn local_is_local() {
    let zones = Zones::new();
    let local = zones.service("local", &[0, 1], &json!({"internalTrafficPolicy": "Local"}));
    let opaque = zones.mesh.service("opaque", 80, 8080, &[]);
    let mut manifest = opaque.manifest();
    manifest["spec"]["internalTrafficPolicy"] = json!("Local");
    zones.mesh.apply(&manifest);
    opaque.set_endpoints(&zones.endpoints(&[1]));
    zones.mesh.start_agents();

    let none = "503 no_healthy_endpoint";
    assert_eq!(
        zones.served_by(&local),
        owned(&[&["app-n1"], &["app-n2"], &[none]])
    );
    let talks = zones
        .clients
        .iter()
        .map(|client| client.talk(opaque.v4, &["send:GET / HTTP/1.0\r\n\r\n", "recv:4"]));
    let reached: Vec<_> = talks.map(|talk| talk.is_ok()).collect();
    assert!(!reached[0] && reached[1], "{reached:?}");
    // An endpoint of its own node makes the difference.
    local.set_endpoints(&zones.endpoints(&[1, 2]));
    ask(&zones.clients[2], &local, "GET /").until("it is there", |answer| answer.is_from("app-n3"));
    ask(&zones.clients[0], &local, "GET /").until("it is gone", |answer| outcome(answer) == none);
}
