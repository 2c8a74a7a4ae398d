//! What is not the mesh's business is not touched: the kernel's own socket table shows the address
//! that was dialled, where a captured dial shows the agent's.

use std::net::SocketAddr;

use weir_tests::{Mesh, Pod, TcpState};

#[test]
fn other_destinations_are_not_redirected() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let listed = mesh.pod("listed", "n2").listed();
    let _apps: Vec<_> = [&server, &stranger, &listed, &client]
        .map(|p| p.serve("echo", 8080))
        .into();
    mesh.start_agents();

    let elsewhere = [stranger.v4(8080), stranger.v6(8080), listed.v4(8080)];
    let own = [
        "127.0.0.1:8080".parse().unwrap(),
        "[::1]:8080".parse().unwrap(),
        client.v4(8080),
        client.v6(8080),
    ];
    for addr in elsewhere.into_iter().chain(own) {
        assert!(is_dialled_as_is(&client, addr), "{addr} was redirected");
    }
    // The control: the same question about a captured dial.
    assert!(!is_dialled_as_is(&client, server.v4(8080)));
    mesh.expect_tunnelled(&client, &server, 1);

    let agent = mesh.agent_of(&client);
    assert!(agent.verdicts("outbound_not_mesh") >= 3.0);
    assert!(agent.verdicts("outbound_own") >= 4.0);
    assert!(agent.verdicts("outbound_redirected") >= 1.0);
    let counted = agent.metric(
        "istio_tcp_connections_opened_total",
        &[("reporter", "source")],
    );
    assert_eq!(counted, 1.0, "the agent saw more than the captured dial");
}

fn is_dialled_as_is(client: &Pod, addr: SocketAddr) -> bool {
    let talker = client.talker(&[], addr, &["send:x", "recv:1", "wait"]);
    talker.event(|event| event["step"] == "recv:1");
    let sockets = client.netns().tcp_sockets();
    let direct = sockets
        .iter()
        .any(|s| s.state == TcpState::Established && s.remote == addr);
    talker.finish();
    direct
}
