//! What Weir says on the wire, as an HBONE peer that is not its own code reads it (hbone.md).

use weir_tests::hbone::{Answer, Dial, End, HboneServer, Reason};

use crate::peer_and_pod;

#[test]
fn a_request_is_what_hbone_says() {
    let (mesh, peer, client) = peer_and_pod("client");
    let server = HboneServer::start(&peer, &mesh.identity_of(&peer), Answer::Echo);
    client.expect_echo(peer.v4(8080));

    let seen = server.wait_for_request();
    assert_eq!(
        (seen.method.as_str(), seen.authority),
        ("CONNECT", peer.v4(8080).to_string())
    );
    assert_eq!(
        (seen.peer.ip(), &seen.peer_uris[..]),
        (client.ipv4(), &[client.principal()][..])
    );
    assert_eq!(seen.server_name, None, "no SNI");
    assert!(
        seen.alpn_offered.contains(&"h2".to_owned()),
        "{:?}",
        seen.alpn_offered
    );
    let header = |name| seen.headers.get(name).map(|value| value.to_str().unwrap());
    let baggage = header("baggage").unwrap();
    assert!(baggage.contains("k8s.namespace.name=shop"), "{baggage}");
    assert!(baggage.contains("service.name=client"), "{baggage}");
    let forwarded = header("forwarded").unwrap();
    assert!(
        forwarded.contains(&format!("for=\"{}:", client.ipv4())),
        "{forwarded}"
    );

    client.expect_echo(peer.v6(8080));
    assert_eq!(server.seen()[1].authority, peer.v6(8080).to_string());
}

#[test]
fn streams_share_tunnels_and_open_another_before_the_limit() {
    let (mesh, peer, client) = peer_and_pod("client");
    let server = HboneServer::start_with(&peer, &mesh.identity_of(&peer), Answer::Echo, 10);
    let held = client
        .testprog(&["hold", &peer.v4(8080).to_string(), "50"])
        .spawn();
    held.event_named("open");
    let connections = server.connections();
    assert!(
        (5..50).contains(&connections),
        "{connections} tunnels for 50 streams, 10 in each"
    );
}

#[test]
fn ends_and_resets_of_a_stream_reach_the_client() {
    let (mesh, peer, client) = peer_and_pod("client");
    let identity = mesh.identity_of(&peer);
    let at_each = [
        (Answer::SayAndFinish(b"bye"), "", "bye"),
        (Answer::Reset(Reason::CONNECT_ERROR), "reset", ""),
        // The end of a stream, not an error (ztunnel closes so).
        (Answer::Reset(Reason::NO_ERROR), "", ""),
        (Answer::Reset(Reason::CANCEL), "", ""),
    ];
    for (answer, error, received) in at_each {
        let _server = HboneServer::start(&peer, &identity, answer);
        let talk = client.talk(peer.v4(8080), &["send:x", "drain"]);
        assert_eq!(
            (talk.error(), talk.received()),
            (error, received),
            "{answer:?}: {talk:?}"
        );
    }
}

#[test]
fn ends_and_resets_of_the_application_reach_the_tunnel() {
    let (mesh, peer, server) = peer_and_pod("server");
    let _closes = server.serve("close-first", 8082);
    let _resets = server.serve("reset", 8083);
    let replies = server.serve("reply-at-eof", 8081);
    let echo = server.serve("echo", 8080);
    let identity = mesh.identity_of(&peer);
    let tunnel = Dial::new(&peer, &server, &identity).open().unwrap();
    assert_eq!(tunnel.peer_uris, [server.principal()]);

    let mut stream = tunnel.connect(server.v4(8082)).unwrap();
    assert_eq!(stream.read_to_end(), (b"bye\n".to_vec(), End::Eof));
    assert!(tunnel.max_streams() >= 100, "ztunnel assumes as many");

    let mut stream = tunnel.connect(server.v4(8083)).unwrap();
    stream.send(b"x");
    assert_eq!(
        stream.read_to_end(),
        (Vec::new(), End::Reset(Reason::CONNECT_ERROR))
    );

    let mut stream = tunnel.connect(server.v4(8081)).unwrap();
    stream.send(b"abc");
    stream.finish();
    assert_eq!(stream.read_to_end(), (b"got 3\n".to_vec(), End::Eof));

    let mut stream = tunnel.connect(server.v4(8081)).unwrap();
    stream.reset(Reason::CONNECT_ERROR);
    replies.event(|event| event["event"] == "closed" && event["how"] == "reset");

    // The end of the stream, not an error; whatever the application still says is nobody's.
    for (id, reason) in [(0, Reason::CANCEL), (1, Reason::NO_ERROR)] {
        let mut stream = tunnel.connect(server.v4(8080)).unwrap();
        stream.send(b"abc");
        assert_eq!(stream.read(3).unwrap(), b"abc");
        stream.reset(reason);
        let closed = echo.event(|event| event["id"] == id && event["event"] == "closed");
        assert_eq!(closed["how"], "eof", "{reason}");
    }
}

#[test]
fn both_families_are_served_and_forwarded_is_believed_only_where_it_agrees() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("whoami", 8080);
    let identity = mesh.identity_of(&peer);
    let lies = [("forwarded", "for=\"10.9.200.200:4711\"")];
    for (tunnel, authority, own) in [
        (server.v4(15008), server.v4(8080), peer.ipv4()),
        (server.v6(15008), server.v6(8080), peer.ipv6()),
    ] {
        let tunnel = Dial::to_addr(&peer, tunnel, &identity).open().unwrap();
        let before = app.count("accepted");
        let _stream = tunnel.connect_with(authority, &lies).unwrap();
        let accepted = app.event(|event| event["id"] == before && event["event"] == "accepted");
        let seen = weir_tests::ip_in(&accepted, "accept")
            .unwrap()
            .to_canonical();
        assert_eq!(seen, own);
    }
}
