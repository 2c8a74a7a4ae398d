//! Two pods on one node: the same policy and the same metrics, without TLS in between.

use weir_tests::{Mesh, hbone, manifests};

#[test]
fn pods_on_one_node_meet_inside_their_agent() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh.pod("server", "n1").enrolled();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let app = server.serve("echo", 8080);
    // What goes round the mesh is refused, so what arrives went through it.
    mesh.apply(&manifests::peer_authentication(
        "shop",
        "default",
        None,
        "STRICT",
        &[],
    ));
    mesh.start_agents();

    let sniffer = mesh.sniff();
    for addr in [web.v4, web.v6, server.v4(8080), server.v6(8080)] {
        client.expect_echo(addr);
    }
    let frames = sniffer.stop();
    assert!(!frames.contain(b"hello") && frames.bytes_to_port(hbone::PORT) == 0);
    let accepted = app.event_named("accepted");
    let seen = weir_tests::ip_in(&accepted, "accept")
        .unwrap()
        .to_canonical();
    assert_eq!(seen, client.ipv4());
    // Both identities are known, and nothing on a wire had to be protected
    // (docs/decisions/0003-same-node-says-none.md).
    let none = [("connection_security_policy", "none")];
    mesh.expect_counted(&client, &server, &none, 4);
}
