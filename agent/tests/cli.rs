//! The commands that a person runs by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use weir::{
    admin::{Admin, PodCounts, Readiness, Sources, Surface},
    model::{
        names::ObjectName,
        seams::SystemClock,
        snapshot::Snapshot,
        status::{EndpointStatus, ServiceStatus, ServicesStatus},
    },
    telemetry::{self, Telemetry},
};

struct Answer {
    ok: bool,
    out: String,
    err: String,
}

fn weir(args: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .output()
        .unwrap();
    Answer {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn says_its_version() {
    let answer = weir(&["--version"]);
    assert!(answer.ok);
    assert!(
        answer
            .out
            .starts_with(concat!("weir ", env!("CARGO_PKG_VERSION"), " ("))
    );
}

#[test]
fn completes_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = weir(&["completions", shell]);
        assert!(answer.ok && answer.out.contains("uninstall"), "{shell}");
    }
}

#[test]
fn validates_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let file = folder.path().join("all.yaml");
    fs::write(
        &file,
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n",
    )
    .unwrap();
    let answer = weir(&["validate", path]);
    assert!(
        answer.ok && answer.out.contains("1 Service"),
        "{}",
        answer.out
    );

    fs::write(
        &file,
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {clusterIP: 10.96.0.10, ports: [{port: 80000}]}\n",
    )
    .unwrap();
    let answer = weir(&["validate", path]);
    assert!(!answer.ok);
    for part in ["all.yaml", "spec.ports[0].port"] {
        assert!(answer.out.contains(part), "{}", answer.out);
    }

    let answer = weir(&["validate", "/nowhere/at/all"]);
    assert!(
        !answer.ok && answer.err.contains("/nowhere/at/all"),
        "{}",
        answer.err
    );
}

#[test]
fn check_names_a_remedy_for_what_is_missing() {
    // /proc is no bpffs, on any machine.
    let answer = weir(&["check", "--bpffs", "/proc/weir", "--cgroup", "/proc"]);
    assert!(!answer.ok);
    for part in [
        "MISSING  bpffs",
        "mount -t bpf",
        "MISSING  cgroup2",
        "--cgroup",
    ] {
        assert!(answer.out.contains(part), "no {part} in\n{}", answer.out);
    }
}

#[test]
fn refuses_flags_that_make_no_sense() {
    for (flag, value, told) in [
        ("--drain-timeout", "10 seconds", "500ms, 10s, 1h30m"),
        ("--trust-domain", "Cluster.Local", "lower-case"),
        ("--on-exit", "maybe", "release"),
        ("--ca-cert", "ca.crt", "--ca-key"),
        ("--threads", "0", "1..=256"),
    ] {
        let answer = weir(&["agent", "--config", "c", "--node", "n", flag, value]);
        assert!(
            !answer.ok && answer.err.contains(told),
            "{flag}: {}",
            answer.err
        );
    }
}

#[test]
fn uninstall_finds_nothing_where_nothing_is() {
    let answer = weir(&["uninstall", "--bpffs", "/sys/fs/bpf/weir-never-was"]);
    assert!(
        answer.ok && answer.out.contains("nothing of weir"),
        "{}",
        answer.out
    );
}

const SHOP: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weir.dev/mesh: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop}
spec: {nodeName: n1, containers: [{name: app}]}
status: {podIP: 10.9.0.1, podIPs: [{ip: 10.9.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop}
spec: {nodeName: n2, serviceAccountName: web, containers: [{name: app}]}
status: {podIP: 10.9.0.2, podIPs: [{ip: 10.9.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.9.0.2]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web, port: 80}]
  rules:
    - name: beta
      matches: [{headers: [{name: x-beta, value: \"yes\"}]}]
      backendRefs: [{name: beta, port: 80}]
    - backendRefs: [{name: web, port: 80}]
";

#[test]
fn explains_requests_by_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.yaml"), SHOP).unwrap();
    let path = folder.path().to_str().unwrap();
    let explain = |more: &[&str]| {
        let args = ["explain", "--config", path, "--from", "shop/cart-1"];
        weir(&[&args[..], more].concat())
    };

    let answer = explain(&["--to", "http://web/a"]);
    assert!(answer.ok, "{}", answer.err);
    for part in [
        "no     HTTPRoute shop/web rule beta (header x-beta = \"yes\"): header x-beta is absent",
        "TAKEN  HTTPRoute shop/web rule 1 (everything)",
        "10.9.0.2:8080 shop/web-1 on n2, mutual TLS, spiffe://cluster.local/ns/shop/sa/web",
        "outcome      sent to shop/web:80",
    ] {
        assert!(answer.out.contains(part), "no {part:?} in\n{}", answer.out);
    }

    let beta = [
        "--to",
        "http://web/a",
        "-X",
        "POST",
        "-H",
        "X-Beta: yes",
        "--output",
        "json",
    ];
    let answer = explain(&beta);
    let told: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(told["request"], "POST http://web/a");
    assert_eq!(told["outcomes"][0]["status"], 500);
    assert_eq!(told["outcomes"][0]["reason"], "backend_not_found");

    let answer = explain(&["--to", "http://web/", "--trust-domain", "example.org"]);
    assert!(answer.out.contains("spiffe://example.org/ns/shop/sa/web"));

    let answer = explain(&["--to", "ftp://web/"]);
    assert!(!answer.ok && answer.err.contains("http://, https:// and tcp://"));

    // What is wrong with the folder is said, and left out.
    fs::write(folder.path().join("wrong.yaml"), "kind: [").unwrap();
    let answer = explain(&["--to", "http://web/a"]);
    assert!(
        answer.ok && answer.err.contains("wrong.yaml"),
        "{}",
        answer.err
    );
}

#[test]
fn where_no_agent_answers_is_said() {
    for args in [
        &[
            "explain",
            "--from",
            "shop",
            "--to",
            "web",
            "--admin",
            "127.0.0.1:1",
        ][..],
        &["tap", "--admin", "127.0.0.1:1"][..],
        &["status", "--admin", "127.0.0.1:1"][..],
    ] {
        let answer = weir(args);
        assert!(!answer.ok, "{}", answer.out);
        for part in ["no agent answers at 127.0.0.1:1", "--admin"] {
            assert!(answer.err.contains(part), "{}", answer.err);
        }
    }
}

/// One service, with one endpoint whose breaker is open and one that is well.
fn services() -> ServicesStatus {
    let endpoint = |address: &str, breaker| EndpointStatus {
        address: address.parse().unwrap(),
        breaker,
        since: Duration::from_secs(4),
        open_for: (breaker == "open").then_some(Duration::from_secs(10)),
        healthy: true,
    };
    ServicesStatus {
        services: vec![ServiceStatus {
            service: ObjectName::new("shop", "web"),
            endpoints: vec![
                endpoint("10.9.0.2:8080", "open"),
                endpoint("10.9.0.3:8080", "closed"),
            ],
            requests: 0,
            requests_max: 1024,
            connections: 0,
            connections_max: 1024,
            pending: 0,
            pending_max: 1024,
        }],
        transitions: Vec::new(),
    }
}

/// An agent's admin address, for as long as the test lives.
fn admin_address(runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let admin = Admin::new(Sources {
        telemetry: Telemetry::new(telemetry::Settings::default(), Arc::new(SystemClock)).unwrap(),
        snapshot: Box::new(|| Arc::new(Snapshot::default())),
        pods: Box::new(|| serde_json::Value::Null),
        pod_counts: Box::new(PodCounts::default),
        services: Box::new(services),
        readiness: Box::new(|| Readiness::NotReady(vec!["another agent has taken over".into()])),
        liveness: Box::new(|| Box::pin(std::future::pending())),
    });
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(weir::admin::serve(listener, Surface::Admin, admin));
    address
}

#[test]
fn tells_the_status_of_an_agent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = admin_address(&runtime).to_string();
    let status = |more: &[&str]| weir(&[&["status", "--admin", &address], more].concat());

    let answer = status(&[]);
    assert!(answer.ok, "{}", answer.err);
    for part in [
        "agent     not ready",
        "- another agent has taken over",
        "breakers  1 open, 0 half open",
        "shop/web  10.9.0.2:8080  open",
    ] {
        assert!(answer.out.contains(part), "no {part:?} in\n{}", answer.out);
    }
    assert!(!answer.out.contains("10.9.0.3"), "{}", answer.out);
    let answer = status(&["--all"]);
    assert!(
        answer.out.contains("10.9.0.3:8080  closed"),
        "{}",
        answer.out
    );

    let answer = status(&["--output", "json"]);
    let told: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(told["ready"], false);
    assert_eq!(
        told["services"][0]["endpoints"][0]["halfOpenInSeconds"],
        6.0
    );
}
