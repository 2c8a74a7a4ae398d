//! STRICT and PERMISSIVE for one workload and for one port of it: a Prometheus outside the mesh
//! can scrape a STRICT application.

use weir_tests::{Mesh, manifests};

use crate::permissive_and_strict::becomes_refused;

#[test]
fn one_port_of_a_strict_workload_may_be_permissive() {
    let (mesh, client, server) = Mesh::client_and_server();
    let other = mesh.pod("other", "n2").enrolled();
    let stranger = mesh.outside("stranger");
    let _apps = [
        server.serve("echo", 8080),
        server.serve("echo", 9090),
        other.serve("echo", 8080),
    ];
    let ports = [(9090, "PERMISSIVE")];
    mesh.apply(&manifests::peer_authentication(
        "shop",
        "server",
        Some("server"),
        "STRICT",
        &ports,
    ));
    mesh.start_agents();

    assert!(stranger.hello(server.v4(8080)).is_refused());
    stranger.expect_echo(server.v4(9090));
    stranger.expect_echo(other.v4(8080));
    mesh.expect_plaintext_in(&server, 1);
    mesh.expect_plaintext_in(&other, 1);
    mesh.agent_of(&server)
        .expect_failures(&["plaintext_refused"], 1);
    for port in [8080, 9090] {
        client.expect_echo(server.v4(port));
    }
    mesh.expect_tunnelled(&client, &server, 2);
}

#[test]
fn the_narrower_policy_wins() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let _apps = [server.serve("echo", 8080), server.serve("echo", 9090)];
    // The mesh is STRICT, the namespace is not, one port of the workload is.
    mesh.apply(&manifests::peer_authentication(
        "weir-system",
        "mesh",
        None,
        "STRICT",
        &[],
    ));
    mesh.apply(&manifests::peer_authentication(
        "shop",
        "default",
        None,
        "PERMISSIVE",
        &[],
    ));
    let ports = [(9090, "STRICT")];
    mesh.apply(&manifests::peer_authentication(
        "shop",
        "server",
        Some("server"),
        "UNSET",
        &ports,
    ));
    mesh.start_agents();

    stranger.expect_echo(server.v4(8080));
    assert!(stranger.hello(server.v4(9090)).is_refused());
    mesh.delete(&manifests::peer_authentication(
        "shop",
        "default",
        None,
        "PERMISSIVE",
        &[],
    ));
    becomes_refused(&stranger, &server);
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}
