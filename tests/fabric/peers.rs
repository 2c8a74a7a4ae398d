//! The HBONE peers against each other: two implementations, each in both roles.

use weir_tests::{
    Leaf, Mesh, Pod, envoy,
    hbone::{Answer, Dial, End, HboneServer, PORT, Reason, Tunnel},
};

/// A mesh with two pods, and the pods' certificates.
fn setup() -> (Mesh, Pod, Pod) {
    let mesh = Mesh::new(0);
    let client = mesh.outside("client");
    let server = mesh.outside("server");
    (mesh, client, server)
}

#[test]
fn envoy_to_envoy() {
    let (mesh, client, server) = setup();
    let _echo = server.serve("echo", 8080);
    let _end = envoy::server(
        &server,
        &mesh.ca().issue(&Leaf::workload("shop", "server")),
        8080,
        &client.principal(),
    );
    let identity = mesh.ca().issue(&Leaf::workload("shop", "client"));
    let (tunnel, authority) = (server.v4(PORT), server.v4(8080));
    let sniffer = mesh.sniff();
    let _start = envoy::client(
        &client,
        &identity,
        9000,
        tunnel,
        authority,
        &server.principal(),
    );
    client.expect_echo("127.0.0.1:9000".parse().unwrap());
    let frames = sniffer.stop();
    assert!(frames.has_client_hello_to(PORT) && !frames.contain(b"hello"));
}

#[test]
fn raw_client_to_envoy() {
    let (mesh, client, server) = setup();
    let _echo = server.serve("echo", 8080);
    let end = envoy::server(
        &server,
        &mesh.ca().issue(&Leaf::workload("shop", "server")),
        8080,
        &client.principal(),
    );
    let identity = mesh.ca().issue(&Leaf::workload("shop", "client"));
    let tunnel = Dial::new(&client, &server, &identity).open().unwrap();
    assert_eq!(tunnel.peer_uris, [server.principal()]);
    echo_through(&tunnel, &server);
    let stream = end.event_named("stream");
    assert_eq!(stream["authority"], server.v4(8080).to_string());
    assert_eq!(stream["peer_uri"], client.principal());
    assert_eq!(stream["tls"], "TLSv1.3");
}

#[test]
fn envoy_to_raw_server() {
    let (mesh, client, server) = setup();
    let end = HboneServer::start(
        &server,
        &mesh.ca().issue(&Leaf::workload("shop", "server")),
        Answer::Echo,
    );
    let identity = mesh.ca().issue(&Leaf::workload("shop", "client"));
    let _envoy = envoy::client(
        &client,
        &identity,
        9000,
        server.v4(PORT),
        server.v4(8080),
        &server.principal(),
    );
    client.expect_echo("127.0.0.1:9000".parse().unwrap());
    let seen = end.wait_for_request();
    assert_eq!(seen.method, "CONNECT");
    assert_eq!(seen.authority, server.v4(8080).to_string());
    assert_eq!(seen.peer_uris, [client.principal()]);
    assert_eq!(seen.peer.ip(), client.ipv4());
}

#[test]
fn an_expired_certificate_is_refused_by_envoy() {
    let (mesh, client, server) = setup();
    let _end = envoy::server(
        &server,
        &mesh.ca().issue(&Leaf::workload("shop", "server")),
        8080,
        &client.principal(),
    );
    let expired = mesh.ca().issue(&Leaf::workload("shop", "client").expired());
    let tunnel = Dial::new(&client, &server, &expired).open();
    assert!(
        tunnel
            .and_then(|tunnel| tunnel.connect(server.v4(8080)))
            .is_err()
    );
}

#[test]
fn a_reset_is_seen() {
    let (mesh, client, server) = setup();
    let identity = mesh
        .ca()
        .issue(&Leaf::workload("shop", "server").and_uri("spiffe://other/x"));
    let _end = HboneServer::start(&server, &identity, Answer::Reset(Reason::CONNECT_ERROR));
    let tunnel = Dial::new(&client, &server, &identity).open().unwrap();
    assert_eq!(tunnel.peer_uris.len(), 2);
    let mut stream = tunnel.connect(server.v4(8080)).unwrap();
    assert_eq!(tunnel.max_streams(), 200);
    stream.send(b"x");
    assert_eq!(
        stream.read_to_end(),
        (Vec::new(), End::Reset(Reason::CONNECT_ERROR))
    );
}

fn echo_through(tunnel: &Tunnel, server: &Pod) {
    let mut stream = tunnel.connect(server.v4(8080)).unwrap();
    stream.send(b"hello");
    assert_eq!(stream.read(5).unwrap(), b"hello");
    stream.finish();
    assert_eq!(stream.read_to_end(), (Vec::new(), End::Eof));
}
