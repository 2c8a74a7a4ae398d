//! An expired certificate, at either end of a tunnel.

use weir_tests::{
    Leaf,
    hbone::{Answer, Dial, HboneServer},
};

use crate::peer_and_pod;

#[test]
fn a_server_with_an_expired_certificate_is_refused() {
    let (mesh, peer, client) = peer_and_pod("client");
    let expired = mesh.ca().issue(&Leaf::uri(peer.principal()).expired());
    let server = HboneServer::start(&peer, &expired, Answer::Echo);
    assert!(client.hello(peer.v4(8080)).is_refused());
    assert_eq!(server.seen().len(), 0);
    let agent = mesh.agent_of(&client);
    agent.expect_failures(&["tls_certificate_expired"], 1);
    agent.expect_handshake_failures(&["expired"], 1);
    agent.expect_logged(&["tls_certificate_expired"]);
}

#[test]
fn a_client_with_an_expired_certificate_is_refused() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let expired = mesh.ca().issue(&Leaf::uri(peer.principal()).expired());
    let tunnel = Dial::new(&peer, &server, &expired).open();
    assert!(
        tunnel
            .and_then(|tunnel| tunnel.connect(server.v4(8080)))
            .is_err()
    );
    assert_eq!(app.count("accepted"), 0);
    mesh.agent_of(&server)
        .expect_handshake_failures(&["expired"], 1);
}
