//! A pod's own address, without any service.

use weir_tests::Mesh;

#[test]
fn a_pod_address_leads_through_the_mesh() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();

    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}
