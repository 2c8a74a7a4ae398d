//! Further certificates that prove nothing: two identities, other shapes, another root.

use weir_tests::{
    Ca, Identity, Leaf,
    hbone::{Answer, Dial, HboneServer},
};

use crate::peer_and_pod;

#[test]
fn a_client_needs_exactly_one_identity_of_the_right_shape() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let own = peer.principal();
    let leaves = [
        Leaf::uri(&own).and_uri("spiffe://cluster.local/ns/shop/sa/admin"),
        Leaf::uri(&own).and_uri("https://example.com/"),
        Leaf::uri(format!("{own}/more")),
        Leaf::uri("spiffe://cluster.local/ns/shop"),
        Leaf::uri("spiffe://cluster.local/ns//sa/peer"),
        Leaf::uri("https://cluster.local/ns/shop/sa/peer"),
    ];
    for (count, leaf) in (1..).zip(&leaves) {
        let tunnel = Dial::new(&peer, &server, &mesh.ca().issue(leaf)).open();
        assert!(
            tunnel.and_then(|t| t.connect(server.v4(8080))).is_err(),
            "{leaf:?}"
        );
        mesh.agent_of(&server)
            .expect_handshake_failures(&["bad_san"], count);
    }
    assert_eq!(app.count("accepted"), 0);
}

#[test]
fn another_root_is_not_trusted() {
    let (mesh, peer, server) = peer_and_pod("server");
    let client = mesh.pod("client", "n1").enrolled();
    mesh.agent_on("n1").wait_captured(&client);
    let app = server.serve("echo", 8080);
    let strangers = Ca::create(mesh.dir(), "strangers");
    let forged = Identity {
        roots: mesh.identity_of(&peer).roots,
        ..strangers.issue(&Leaf::uri(peer.principal()))
    };

    let tunnel = Dial::new(&peer, &server, &forged).open();
    assert!(
        tunnel
            .and_then(|tunnel| tunnel.connect(server.v4(8080)))
            .is_err()
    );
    assert_eq!(app.count("accepted"), 0);
    mesh.agent_of(&server)
        .expect_handshake_failures(&["untrusted_root"], 1);

    let server = HboneServer::start(&peer, &forged, Answer::Echo);
    assert!(client.hello(peer.v4(8080)).is_refused());
    assert_eq!(server.seen().len(), 0);
    mesh.agent_of(&client)
        .expect_failures(&["tls_untrusted"], 1);
}
