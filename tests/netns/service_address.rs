//! A service address, over both families, with programs that know nothing.

use weir_tests::Mesh;

#[test]
fn a_service_address_leads_through_the_mesh() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let _nginx = server.nginx(8080, "welcome");
    mesh.start_agents();

    assert_eq!(client.curl(web.v4, "/"), "welcome");
    assert_eq!(client.curl(web.v6, "/"), "welcome");
    mesh.expect_tunnelled(&client, &server, 2);
}

#[test]
fn connections_are_spread_over_the_endpoints() {
    let mesh = Mesh::new(2);
    let client = mesh.pod("client", "n1").enrolled();
    let (a, b) = (
        mesh.pod("a", "n2").enrolled(),
        mesh.pod("b", "n2").enrolled(),
    );
    let web = mesh.service("web", 80, 8080, &[&a, &b]);
    let _servers = [a.serve("echo", 8080), b.serve("echo", 8080)];
    mesh.start_agents();

    for _ in 0..10 {
        client.expect_echo(web.v4);
    }
    mesh.expect_tunnelled(&client, &a, 2);
    mesh.expect_tunnelled(&client, &b, 2);
}
