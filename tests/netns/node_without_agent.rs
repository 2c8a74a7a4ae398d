//! A pod on a node without an agent: plaintext where the pod says that it is not captured; where
//! it does not, a typed refusal, never a silent downgrade.

use std::time::Duration;

use weir_tests::{Mesh, eventually, never};

#[test]
fn a_pod_that_says_it_is_not_captured_gets_plain_tcp() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh
        .pod("server", "n2")
        .annotation("weir.dev/captured", "false")
        .enrolled();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();

    // The service address works by the mesh alone.
    client.expect_echo(web.v4);
    let plain = [
        ("reporter", "source"),
        ("destination_workload", "server"),
        ("connection_security_policy", "none"),
    ];
    let opened = "istio_tcp_connections_opened_total";
    eventually(
        "a plaintext connection is counted",
        Duration::from_secs(5),
        || {
            let metrics = mesh.agent_on("n1").metrics();
            (metrics.sum(opened, &plain) >= 1.0)
                .then_some(())
                .ok_or(format!("{metrics:?}"))
        },
    );
}

#[test]
fn a_pod_that_does_not_say_so_is_refused_with_a_reason() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh.pod("server", "n2").enrolled();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let app = server.serve("echo", 8080);
    mesh.start_agents();

    for addr in [web.v4, server.v4(8080), server.v6(8080)] {
        let talk = client.hello(addr);
        assert!(talk.is_refused(), "{talk:?}");
    }
    let agent = mesh.agent_on("n1");
    agent.expect_failures(&["tunnel_refused"], 3);
    agent.expect_logged(&["tunnel_refused"]);
    never(
        "plaintext reaches the pod",
        Duration::from_millis(200),
        || (app.count("accepted") > 0).then(|| app.stdout()),
    );

    // Said later, it counts from then on.
    server.annotate("weir.dev/captured", "false");
    eventually("plain TCP to the pod", Duration::from_secs(3), || {
        let talk = client.hello(web.v4);
        talk.is_ok().then_some(()).ok_or(talk)
    });
}
