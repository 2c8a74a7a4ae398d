//! Weir without Kubernetes: one agent for each simulated node, started as `api.md` says.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::metrics::{self, Proof, Watch};
use super::{PathKind, Running, backend, wait_for};
use crate::certs::Authority;
use crate::process::Process;
use crate::sandbox::{Pair, Sandbox, inside};

/// The address that the app dials. No interface has it: only the mesh can answer there.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
const METRICS: u16 = 15020;
const ADMIN: u16 = 15021;
const NAMESPACE: &str = "bench";

pub(super) fn start(
    sandbox: &mut Sandbox,
    ca: &Authority,
    kind: PathKind,
    binary: &Path,
) -> Result<Running> {
    let name = kind.name();
    let cross = kind == PathKind::WeirCross;
    let node_names: Vec<String> = (1..=if cross { 2 } else { 1 })
        .map(|n| format!("{name}-n{n}"))
        .collect();
    let (client_node, server_node) = (&node_names[0], &node_names[node_names.len() - 1]);
    let pair = {
        let (client, server) = (sandbox.node(client_node)?, sandbox.node(server_node)?);
        sandbox.pair(name, &client, &server)?
    };
    let backend = backend::start(sandbox, name, &pair.server, Ipv4Addr::UNSPECIFIED)?;
    let config = sandbox.dir(&format!("{name}-config"))?;
    let manifests: Vec<String> = manifests(&pair, client_node, server_node)
        .iter()
        .map(Value::to_string)
        .collect();
    // JSON documents are YAML documents.
    fs::write(config.join("bench.yaml"), manifests.join("\n---\n"))?;

    let mut proxies = Vec::new();
    let mut watches = Vec::new();
    for (node, reporters) in roles(&node_names) {
        let cgroup = sandbox.node(node)?;
        let place = sandbox.netns(node, &cgroup)?;
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let args = [
            "agent".to_owned(),
            format!("--config={}", text(&config)),
            format!("--node={node}"),
            format!("--state={}", text(&sandbox.dir(&format!("{node}-state"))?)),
            format!("--bpffs={}", text(&sandbox.dir("bpf")?.join(node))),
            format!("--metrics-addr={metrics}"),
            format!("--admin-addr={admin}"),
            format!("--ca-cert={}", text(&ca.ca.cert)),
            format!("--ca-key={}", text(&ca.ca.key)),
            format!("--cgroup={}", text(&cgroup)),
            "--on-exit=release".to_owned(),
            "--drain-timeout=1s".to_owned(),
        ];
        let log = sandbox.dir("logs")?.join(node);
        proxies.push(Process::start(node, binary, args, &place, &log)?);
        for reporter in reporters {
            // Between two pods of one node there is no TLS; what the agent calls that is not the bench's business.
            let security = cross.then_some("mutual_tls");
            watches.push(Watch {
                place: place.clone(),
                address: metrics,
                reporter,
                security,
            });
        }
    }
    // Ready says that capture of every pod has been proven; both agents may need each other for it.
    for (agent, watch) in proxies.iter_mut().zip(&watches) {
        wait_for(agent, "ready", || {
            inside(&watch.place, || {
                metrics::get(watch.address, "/healthz/ready")
            })
            .map(|_| true)
        })?;
    }
    Ok(Running {
        kind,
        client: pair.client,
        http: (SERVICE, backend::HTTP_PORT).into(),
        bulk: (SERVICE, backend::BULK_PORT).into(),
        proxies,
        proof: Some(Proof { watches }),
        backend,
    })
}

/// Which sides of a connection each node's agent reports.
fn roles(nodes: &[String]) -> Vec<(&str, &'static [&'static str])> {
    match nodes {
        [both] => vec![(both, &["source", "destination"])],
        _ => nodes
            .iter()
            .map(String::as_str)
            .zip([&["source"] as &[_], &["destination"]])
            .collect(),
    }
}

fn manifests(pair: &Pair, client_node: &str, server_node: &str) -> Vec<Value> {
    // Opaque: the L4 path is what is measured, also once Weir detects HTTP.
    let ports = [("http", backend::HTTP_PORT), ("bulk", backend::BULK_PORT)];
    let service_ports: Vec<Value> = ports
        .iter()
        .map(|(name, port)| json!({"name": name, "port": port, "targetPort": port, "protocol": "TCP", "appProtocol": "tcp"}))
        .collect();
    let slice_ports: Vec<Value> = ports
        .iter()
        .map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP", "appProtocol": "tcp"}))
        .collect();
    let pod = |name: &str, node: &str, ip: Ipv4Addr, netns: &Path| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": format!("{node}-{name}"),
                "labels": {"app": name, "weir.dev/mesh": "enabled"},
                "annotations": {"weir.dev/netns": netns},
            },
            "spec": {"nodeName": node, "serviceAccountName": name, "containers": [{"name": "app"}]},
            "status": {"phase": "Running", "podIP": ip.to_string(), "podIPs": [{"ip": ip.to_string()}]},
        })
    };
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        pod("client", client_node, pair.client_ip, &pair.client.netns),
        pod("server", server_node, pair.server_ip, &pair.server.netns),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": NAMESPACE},
            "spec": {
                "clusterIP": SERVICE.to_string(), "clusterIPs": [SERVICE.to_string()],
                "selector": {"app": "server"}, "ports": service_ports,
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "server-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "server"},
            },
            "addressType": "IPv4",
            "ports": slice_ports,
            "endpoints": [{
                "addresses": [pair.server_ip.to_string()],
                "conditions": {"ready": true},
                "nodeName": server_node,
                "targetRef": {"kind": "Pod", "name": "server", "namespace": NAMESPACE},
            }],
        }),
    ]
}
