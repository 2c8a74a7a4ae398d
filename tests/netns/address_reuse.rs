//! An address that another pod has now: neither the old pod's tunnel nor its identity is used.

use std::time::Duration;

use weir_tests::Mesh;

#[test]
fn an_address_is_its_new_owners() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _old = server.serve("echo", 8080);
    mesh.start_agents();
    let addr = server.v4(8080);
    client.expect_echo(addr);
    mesh.expect_tunnelled(&client, &server, 1);

    let ips = server.ips();
    server.delete();
    assert!(
        mesh.destroy(server, Duration::from_secs(10)),
        "somebody holds the namespace"
    );
    let successor = mesh.pod("successor", "n2").ips(ips).enrolled();
    let _new = successor.serve("echo", 8080);
    mesh.agent_of(&successor).wait_captured(&successor);

    mesh.expect_soon_tunnelled(&client, &successor, 8080);
    mesh.expect_tunnelled(&client, &successor, 1);
}
