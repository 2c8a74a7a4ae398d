//! connect() in a non-blocking socket, as every event loop does it.

use weir_tests::Mesh;

#[test]
fn nonblocking_dials_lead_through_the_mesh() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();

    for addr in [web.v4, web.v6, server.v4(8080)] {
        let talk = client.talk_with(&["--nonblocking"], addr, &["send:hello", "recv:5"]);
        assert!(talk.is_ok() && talk.received() == "hello", "{talk:?}");
        assert_eq!(talk.peer(), addr);
        assert_eq!(talk.0["in_progress"], true, "as over a network: {talk:?}");
    }
    mesh.expect_tunnelled(&client, &server, 3);
}
