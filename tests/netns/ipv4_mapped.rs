//! IPv4 through an IPv6 socket, as Java and Go dial.

use weir_tests::Mesh;

#[test]
fn ipv4_mapped_dials_lead_through_the_mesh() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let _echo = server.serve_on("echo", "0.0.0.0:8080");
    mesh.start_agents();

    for addr in [web.v4, server.v4(8080)] {
        let talk = client.talk_with(&["--mapped"], addr, &["send:hello", "recv:5"]);
        assert_eq!(talk.received(), "hello", "{talk:?}");
        // In the form of the socket's own family.
        assert_eq!(
            talk.peer().to_string(),
            format!("[::ffff:{}]:{}", addr.ip(), addr.port())
        );
        assert_eq!(
            talk.local().ip().to_string(),
            format!("::ffff:{}", client.ipv4())
        );
    }
    mesh.expect_tunnelled(&client, &server, 2);
}
