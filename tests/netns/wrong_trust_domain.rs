//! The right root, but an identity of another trust domain.

use weir_tests::{
    Leaf,
    hbone::{Answer, Dial, HboneServer},
};

use crate::peer_and_pod;

#[test]
fn a_client_of_another_trust_domain_is_refused() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let foreign = mesh
        .ca()
        .issue(&Leaf::uri("spiffe://elsewhere.example/ns/shop/sa/peer"));
    let tunnel = Dial::new(&peer, &server, &foreign).open();
    assert!(
        tunnel
            .and_then(|tunnel| tunnel.connect(server.v4(8080)))
            .is_err()
    );
    assert_eq!(app.count("accepted"), 0);
    mesh.agent_of(&server)
        .expect_handshake_failures(&["wrong_trust_domain"], 1);
}

#[test]
fn a_server_of_another_trust_domain_is_refused() {
    let (mesh, peer, client) = peer_and_pod("client");
    let foreign = mesh
        .ca()
        .issue(&Leaf::uri("spiffe://elsewhere.example/ns/shop/sa/peer"));
    let server = HboneServer::start(&peer, &foreign, Answer::Echo);
    assert!(client.hello(peer.v4(8080)).is_refused());
    assert_eq!(server.seen().len(), 0);
    let agent = mesh.agent_of(&client);
    agent.expect_failures(&["tls_untrusted", "tls_identity_mismatch"], 1);
    agent.expect_handshake_failures(&["wrong_trust_domain", "identity_mismatch"], 1);
}
