//! A server with a good certificate of somebody else: the address is right, the identity is not.

use weir_tests::{
    Leaf,
    hbone::{Answer, HboneServer},
};

use crate::peer_and_pod;

#[test]
fn a_server_with_another_identity_is_refused() {
    let (mesh, peer, client) = peer_and_pod("client");
    let somebody = mesh.ca().issue(&Leaf::workload("shop", "somebody"));
    let server = HboneServer::start(&peer, &somebody, Answer::Echo);
    let talk = client.hello(peer.v4(8080));
    assert!(talk.is_refused(), "{talk:?}");
    assert_eq!(server.seen().len(), 0, "a request was sent to it");
    let agent = mesh.agent_of(&client);
    agent.expect_failures(&["tls_identity_mismatch"], 1);
    agent.expect_handshake_failures(&["identity_mismatch"], 1);
    agent.expect_logged(&["tls_identity_mismatch"]);

    // The control: with its own identity it is served.
    drop(server);
    let _server = HboneServer::start(&peer, &mesh.identity_of(&peer), Answer::Echo);
    client.expect_echo(peer.v4(8080));
}
