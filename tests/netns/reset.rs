//! A RST of either end is a RST at the other, not an end of stream.

use weir_tests::{Mesh, Pod};

#[test]
fn resets_between_nodes() {
    let (mesh, client, server) = Mesh::client_and_server();
    both_ways(&mesh, &client, &server);
    mesh.expect_tunnelled(&client, &server, 2);
}

#[test]
fn resets_on_one_node() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh.pod("server", "n1").enrolled();
    both_ways(&mesh, &client, &server);
    mesh.expect_counted(&client, &server, &[], 2);
}

fn both_ways(mesh: &Mesh, client: &Pod, server: &Pod) {
    let resets = mesh.service("resets", 8083, 8083, &[server]);
    let echo = mesh.service("echo", 8080, 8080, &[server]);
    let _resets = server.serve("reset", 8083);
    let app = server.serve("echo", 8080);
    mesh.start_agents();

    let talk = client.talk(resets.v4, &["send:x", "drain"]);
    assert_eq!(talk.error(), "reset", "{talk:?}");
    mesh.agent_of(client)
        .expect_failures(&["upstream_reset"], 1);

    let talk = client.talk(echo.v4, &["send:x", "recv:1", "reset"]);
    assert!(talk.is_ok(), "{talk:?}");
    assert_eq!(app.event_named("closed")["how"], "reset");
    mesh.agent_of(client)
        .expect_failures(&["downstream_reset"], 1);
}
