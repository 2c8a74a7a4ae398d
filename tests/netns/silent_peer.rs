//! A client that opens a connection to 15008 and says nothing, or stops within TLS.

use std::{io::Write, time::Duration};

use weir_tests::{Mesh, hbone};

#[test]
fn silence_is_ended_by_a_deadline() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();

    let silent = stranger.talker(&[], server.v4(hbone::PORT), &["drain"]);
    let mut stuck = stranger
        .netns()
        .enter(|| std::net::TcpStream::connect(server.v4(hbone::PORT)))
        .unwrap();
    // The head of a ClientHello of 512 bytes that never come.
    stuck
        .write_all(&[
            0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
        ])
        .unwrap();

    let ended = silent.finish_within(Duration::from_secs(18));
    assert!(!ended.stdout.contains("timeout"), "{ended:?}");
    mesh.agent_of(&server)
        .expect_handshake_failures(&["handshake_timeout"], 2);
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}
