//! Enrolment by the namespace's label; the pod's own label wins. Pods come and go live.

use std::time::Duration;

use weir_tests::{Mesh, manifests, never};

#[test]
fn a_namespace_enrols_its_pods() {
    let mesh = Mesh::new(2);
    let client = mesh.pod("client", "n1").listed();
    let server = mesh.pod("server", "n2").listed();
    let aloof = mesh
        .pod("aloof", "n2")
        .label("weir.dev/mesh", "disabled")
        .listed();
    let _apps = [server.serve("echo", 8080), aloof.serve("echo", 8080)];
    mesh.start_agents();
    client.expect_echo(server.v4(8080));
    assert_eq!(mesh.tunnelled(&client, &server), 0);

    mesh.apply(&manifests::namespace("shop", Some("enabled")));
    mesh.agent_of(&client).wait_captured(&client);
    mesh.agent_of(&server).wait_captured(&server);
    mesh.expect_soon_tunnelled(&client, &server, 8080);
    mesh.expect_tunnelled(&client, &server, 1);
    never(
        "the pod with its own label is captured",
        Duration::from_millis(500),
        || (mesh.agent_of(&aloof).metric("weir_captured_pods", &[]) != 1.0).then_some(()),
    );
    client.expect_echo(aloof.v4(8080));
    assert_eq!(mesh.tunnelled(&client, &aloof), 0);
}

#[test]
fn a_pod_that_comes_later_is_captured() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    let late = mesh.pod("late", "n2").enrolled();
    mesh.agent_of(&late).wait_captured(&late);
    let _late = late.serve("echo", 8080);

    mesh.expect_soon_tunnelled(&client, &late, 8080);
    mesh.expect_tunnelled(&client, &late, 1);
    late.expect_echo(server.v4(8080));
    mesh.expect_counted(&late, &server, &[], 1);
}
