//! Plaintext and garbage on port 15008: closed, counted, and never the application's.

use std::time::Duration;

use weir_tests::{Mesh, hbone};

#[test]
fn what_is_not_tls_is_closed() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let app = server.serve("echo", 8080);
    mesh.start_agents();

    for (count, bytes) in (1..).zip([
        "send:GET / HTTP/1.1\r\n\r\n",
        "send:PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "send-bytes:100000",
    ]) {
        for addr in [server.v4(hbone::PORT), server.v6(hbone::PORT)] {
            let talk = stranger.talk(addr, &[bytes, "drain"]);
            assert_ne!(talk.error(), "timeout", "{talk:?}");
            assert!(talk.took() < Duration::from_secs(5), "{talk:?}");
        }
        mesh.agent_of(&server)
            .expect_handshake_failures(&["protocol"], 2 * count);
    }
    assert_eq!(app.count("accepted"), 0);
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}
