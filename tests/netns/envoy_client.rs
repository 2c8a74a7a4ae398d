//! Envoy tunnels into a captured pod: an HBONE client that is not Weir's code.

use weir_tests::{MUTUAL_TLS, envoy, hbone};

use crate::peer_and_pod;

#[test]
fn envoy_reaches_a_captured_pod() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let identity = mesh.identity_of(&peer);
    let (tunnel, authority) = (server.v4(hbone::PORT), server.v4(8080));
    let _envoy = envoy::client(
        &peer,
        &identity,
        9000,
        tunnel,
        authority,
        &server.principal(),
    );

    for _ in 0..3 {
        let talk = peer.talk(
            "127.0.0.1:9000".parse().unwrap(),
            &["send:hello", "eof", "drain"],
        );
        assert!(talk.is_ok() && talk.received() == "hello", "{talk:?}");
    }
    let accepted = app.event_named("accepted");
    let seen = weir_tests::ip_in(&accepted, "accept")
        .unwrap()
        .to_canonical();
    assert_eq!(seen, peer.ipv4());
    assert_eq!(app.event_named("closed")["how"], "eof");
    let agent = mesh.agent_of(&server);
    mesh.expect_reported("destination", &agent, &peer, &server, &MUTUAL_TLS, 3);
}
