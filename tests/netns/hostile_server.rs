//! What a broken or hostile HBONE server does to its clients: they hear of it soon, with a reason.

use std::time::Duration;

use weir_tests::hbone::{Answer, HboneServer};

use crate::peer_and_pod;

#[test]
fn a_refusing_server_is_a_refusal() {
    let (mesh, peer, client) = peer_and_pod("client");
    let identity = mesh.identity_of(&peer);
    for (count, status) in [(1, 400), (2, 401), (3, 503)] {
        let _server = HboneServer::start(&peer, &identity, Answer::Status(status));
        let talk = client.hello(peer.v4(8080));
        assert!(
            talk.is_refused() && talk.took() < Duration::from_secs(3),
            "{status}: {talk:?}"
        );
        mesh.agent_of(&client)
            .expect_failures(&["hbone_refused"], count);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (mesh, peer, client) = peer_and_pod("client");
    let server = HboneServer::start(&peer, &mesh.identity_of(&peer), Answer::Never);
    let talk = client.hello(peer.v4(8080));
    assert!(talk.is_refused(), "{talk:?}");
    assert!(talk.took() < Duration::from_secs(15), "{talk:?}");
    assert!(!server.seen().is_empty());
    mesh.agent_of(&client)
        .expect_failures(&["tunnel_connect_timeout", "connect_timeout"], 1);
}

#[test]
fn a_server_that_shakes_no_hands_is_given_up() {
    let (mesh, peer, client) = peer_and_pod("client");
    let _silent = peer.serve("silent", 15008);
    let talk = client.hello(peer.v4(8080));
    assert!(talk.is_refused(), "{talk:?}");
    assert!(talk.took() < Duration::from_secs(15), "{talk:?}");
    mesh.agent_of(&client)
        .expect_failures(&["tls_handshake_timeout"], 1);
}

#[test]
fn a_server_that_answers_with_plaintext_is_refused() {
    let (mesh, peer, client) = peer_and_pod("client");
    let _greeter = peer.serve("greet", 15008);
    let talk = client.hello(peer.v4(8080));
    assert!(
        talk.is_refused() && talk.took() < Duration::from_secs(5),
        "{talk:?}"
    );
    mesh.agent_of(&client)
        .expect_failures(&["tls_handshake_failed"], 1);
}
