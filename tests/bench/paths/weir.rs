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
/// More requests a second than this machine makes.
const RATE: u32 = 1_000_000;

pub(super) fn start(
    sandbox: &mut Sandbox,
    ca: &Authority,
    kind: PathKind,
    binary: &Path,
) -> Result<Running> {
    let name = kind.name();
    let cross = matches!(kind, PathKind::WeirCross | PathKind::WeirCrossPolicies);
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
    let mut manifests = manifests(&pair, client_node, server_node);
    manifests.extend(kind.has_policies().then(traffic_policy));
    let manifests: Vec<String> = manifests.iter().map(Value::to_string).collect();
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
        ip: SERVICE.into(),
        port_offset: 0,
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
    // `tcp` is opaque, so that the L4 path is what the L4 works measure.
    let ports = [
        ("http", backend::HTTP_PORT, "tcp"),
        ("bulk", backend::BULK_PORT, "tcp"),
        ("web", backend::WEB_PORT, "http"),
        ("h2c", backend::H2C_PORT, "kubernetes.io/h2c"),
        ("grpc", backend::GRPC_PORT, "grpc"),
    ];
    let service_ports = ports.map(|(name, port, protocol)| {
        json!({"name": name, "port": port, "targetPort": port, "protocol": "TCP", "appProtocol": protocol})
    });
    let slice_ports = ports.map(|(name, port, protocol)| {
        json!({"name": name, "port": port, "protocol": "TCP", "appProtocol": protocol})
    });
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
        route("HTTPRoute", "web", backend::WEB_PORT, &http_matches()),
        route("HTTPRoute", "h2c", backend::H2C_PORT, &http_matches()),
        route("GRPCRoute", "grpc", backend::GRPC_PORT, &grpc_matches()),
    ]
}

/// A table as people have it: rules that do not match are looked at before the one that does, the last.
/// `envoy.rs` has the same.
fn http_matches() -> [Value; 5] {
    let path = |kind: &str, value: &str| json!({"type": kind, "value": value});
    [
        json!({"path": path("PathPrefix", "/"), "headers": [{"name": "x-canary", "value": "always"}]}),
        json!({"path": path("Exact", "/healthz")}),
        json!({"path": path("PathPrefix", "/api/v2")}),
        json!({"path": path("PathPrefix", "/search"), "queryParams": [{"name": "beta", "value": "1"}]}),
        json!({"path": path("PathPrefix", "/")}),
    ]
}

fn grpc_matches() -> [Value; 5] {
    let health = "grpc.health.v1.Health";
    [
        json!({"method": {"service": "bench.Echo"}, "headers": [{"name": "x-canary", "value": "always"}]}),
        json!({"method": {"service": health, "method": "Check"}}),
        json!({"method": {"service": health}}),
        json!({"method": {"service": "bench.Search"}, "headers": [{"name": "x-beta", "value": "1"}]}),
        json!({"method": {"service": "bench.Echo"}}),
    ]
}

fn route(kind: &str, name: &str, port: u16, matches: &[Value]) -> Value {
    let rules: Vec<Value> = matches
        .iter()
        .map(|one| json!({"matches": [one], "backendRefs": [{"name": "server", "port": port}]}))
        .collect();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "server", "port": port}],
            "rules": rules,
        },
    })
}

/// The example of `api.md`, with limits that no load reaches: a request that is refused costs less.
fn traffic_policy() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "server"}],
            "timeouts": {"request": "2s"},
            "retries": {
                "attempts": 2, "on": ["gateway-error"], "perTryTimeout": "500ms",
                "budget": {"percent": 20, "minPerSecond": 10},
            },
            "circuitBreaker": {"consecutiveErrors": 5, "openFor": "1s"},
            "fallback": {"staleIfError": "60s", "maxBytes": "1Mi"},
            "loadBalancer": {"algorithm": "ewma"},
            "rateLimit": [{
                "requests": RATE, "per": "1s", "burst": RATE, "by": {"source": "identity"},
            }],
        },
    })
}
