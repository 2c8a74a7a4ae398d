//! What a hostile HBONE client tries, and must not get.

use std::time::Duration;

use http::{Method, Request};
use weir_tests::{
    Identity, Mesh, Pod, eventually,
    hbone::{Dial, PORT, Refused, Tunnel},
    never, wait_for,
};

use crate::peer_and_pod;

const MIB: u64 = 1 << 20;

fn tunnel(mesh: &Mesh, peer: &Pod, server: &Pod) -> (Identity, Tunnel) {
    let identity = mesh.identity_of(peer);
    let tunnel = Dial::new(peer, server, &identity).open().unwrap();
    (identity, tunnel)
}

/// The control of every test here: the same peer is served when it behaves.
fn expect_served(peer: &Pod, server: &Pod, identity: &Identity) {
    let tunnel = Dial::new(peer, server, identity).open().unwrap();
    let mut stream = tunnel.connect(server.v4(8080)).unwrap();
    stream.send(b"hello");
    assert_eq!(stream.read(5).unwrap(), b"hello");
}

#[test]
fn an_authority_that_is_not_this_pods_is_refused() {
    let (mesh, peer, server) = peer_and_pod("server");
    let other = mesh.pod("other", "n1").enrolled();
    mesh.agent_on("n1").wait_captured(&other);
    let apps = [server.serve("echo", 8080), other.serve("echo", 8080)];
    let (identity, tunnel) = tunnel(&mesh, &peer, &server);
    let authorities = [
        other.v4(8080).to_string(),
        other.v6(8080).to_string(),
        "127.0.0.1:8080".to_owned(),
        "[::1]:8080".to_owned(),
        "10.9.200.200:8080".to_owned(),
        // The agent's own listeners.
        server.v4(PORT).to_string(),
        server.v6(PORT).to_string(),
        format!("{}:0", server.ipv4()),
        "nobody.shop.svc.cluster.local:80".to_owned(),
    ];
    for authority in authorities {
        let status = tunnel
            .connect(&authority)
            .err()
            .and_then(|refused| refused.status());
        assert_eq!(status, Some(400), "{authority}");
    }
    assert!(apps.iter().all(|app| app.count("accepted") == 0));
    expect_served(&peer, &server, &identity);
}

#[test]
fn a_request_other_than_connect_is_refused() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let (identity, tunnel) = tunnel(&mesh, &peer, &server);
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let uri = format!("https://{}/", server.v4(8080));
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        assert_eq!(tunnel.request(request).unwrap().0.status(), 400);
    }
    assert_eq!(app.count("accepted"), 0);
    expect_served(&peer, &server, &identity);
}

#[test]
fn a_header_list_without_end_is_refused() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let agent = mesh.agent_on("n1");
    let (identity, _tunnel) = tunnel(&mesh, &peer, &server);
    let before = agent.process().rss_bytes();
    let value = "x".repeat(4096);
    for count in [32, 1024] {
        let headers = vec![("x-filler", value.as_str()); count];
        let tunnel = Dial::new(&peer, &server, &identity).open().unwrap();
        let refused = tunnel.connect_with(server.v4(8080), &headers).err();
        assert!(refused.is_some(), "{count} headers of 4 KiB were taken");
    }
    assert_eq!(app.count("accepted"), 0);
    assert!(agent.process().rss_bytes() < before + 32 * MIB);
    expect_served(&peer, &server, &identity);
}

#[test]
fn streams_opened_and_reset_in_a_loop_cost_the_peer_its_tunnel() {
    let (mesh, peer, server) = peer_and_pod("server");
    let _echo = server.serve("echo", 8080);
    let agent = mesh.agent_on("n1");
    let (identity, tunnel) = tunnel(&mesh, &peer, &server);
    let before = agent.process().rss_bytes();
    let (done, ended) = tunnel.reset_rapidly(server.v4(8080), 50_000);
    assert!(
        ended.is_some(),
        "{done} resets, and the tunnel still stands"
    );
    assert!(agent.process().rss_bytes() < before + 32 * MIB);
    expect_served(&peer, &server, &identity);
}

#[test]
fn a_window_that_is_never_opened_holds_back_one_stream_alone() {
    let (mesh, peer, server) = peer_and_pod("server");
    let _source = server.serve("source", 9000);
    let _echo = server.serve("echo", 8080);
    let agent = mesh.agent_on("n1");
    let identity = mesh.identity_of(&peer);
    let mut dial = Dial::new(&peer, &server, &identity);
    dial.window = 1;
    let tunnel = dial.open().unwrap();
    let before = agent.process().rss_bytes();
    let _unread: Vec<_> = (0..8)
        .map(|_| tunnel.connect(server.v4(9000)).unwrap())
        .collect();
    never(
        "the agent keeps what is not taken",
        Duration::from_secs(2),
        || {
            let grown = agent.process().rss_bytes().saturating_sub(before);
            (grown > 32 * MIB).then_some(grown)
        },
    );
    expect_served(&peer, &server, &identity);
}

#[test]
fn a_client_without_a_certificate_gets_no_tunnel() {
    let (mesh, peer, server) = peer_and_pod("server");
    let app = server.serve("echo", 8080);
    let identity = mesh.identity_of(&peer);
    let mut dial = Dial::new(&peer, &server, &identity);
    dial.anonymous = true;
    let refused = dial
        .open()
        .and_then(|tunnel| tunnel.connect(server.v4(8080)))
        .err();
    assert!(
        matches!(refused, Some(Refused::Connection(_))),
        "{refused:?}"
    );
    assert_eq!(app.count("accepted"), 0);
    mesh.agent_on("n1")
        .expect_handshake_failures(&["no_certificate"], 1);
    expect_served(&peer, &server, &identity);
}

#[test]
fn a_tunnel_that_is_opened_and_left_alone_does_not_stay() {
    let (mesh, peer, server) = peer_and_pod("server");
    let _echo = server.serve("echo", 8080);
    let identity = mesh.identity_of(&peer);
    assert!(Dial::new(&peer, &server, &identity).silence_is_ended_within(Duration::from_secs(20)));
    expect_served(&peer, &server, &identity);
}

#[test]
fn many_half_open_handshakes_do_not_keep_others_out() {
    let (mesh, peer, server) = peer_and_pod("server");
    let _echo = server.serve("echo", 8080);
    let identity = mesh.identity_of(&peer);
    let dial = Dial::new(&peer, &server, &identity);
    let silent: Vec<_> = (0..200).map(|_| dial.tcp().unwrap()).collect();
    let served = wait_for(Duration::from_secs(2), || {
        expect_served(&peer, &server, &identity);
        Some(())
    });
    assert!(served.is_some());
    eventually("the silent ones are ended", Duration::from_secs(20), || {
        let agent = mesh.agent_on("n1");
        let counted = agent.handshake_failures(&["handshake_timeout"]);
        (counted >= 200.0).then_some(()).ok_or(counted)
    });
    drop(silent);
}
