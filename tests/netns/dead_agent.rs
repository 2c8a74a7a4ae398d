//! The agent is killed, `hold` leaves the capture: STRICT still lets no plaintext in, and nothing
//! of what the pod dials gets out in plaintext.

use std::time::Duration;

use weir_tests::{Mesh, OnExit, manifests};

#[test]
fn strict_holds_without_an_agent() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let app = server.serve("echo", 8080);
    mesh.apply(&manifests::peer_authentication(
        "shop",
        "default",
        None,
        "STRICT",
        &[],
    ));
    mesh.start_agent(mesh.agent("n1"));
    let agent = mesh.start_agent(mesh.agent("n2").on_exit(OnExit::Hold));
    client.expect_echo(server.v4(8080));
    assert!(stranger.hello(server.v4(8080)).is_refused());

    agent.kill();
    let before = app.count("accepted");
    for dialler in [&stranger, &client] {
        for addr in [server.v4(8080), server.v6(8080)] {
            let talk = dialler.hello(addr);
            assert!(!talk.is_ok() && talk.received().is_empty(), "{talk:?}");
        }
    }
    assert_eq!(app.count("accepted"), before, "the application saw it");

    // A new agent goes on with the pins.
    mesh.start_agent(mesh.agent("n2").on_exit(OnExit::Hold));
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
    assert!(stranger.hello(server.v4(8080)).is_refused());
}

#[test]
fn captured_dials_are_refused_without_an_agent() {
    let (mesh, client, server) = Mesh::client_and_server();
    let app = server.serve("echo", 8080);
    mesh.start_agent(mesh.agent("n2"));
    let agent = mesh.start_agent(mesh.agent("n1").on_exit(OnExit::Hold));
    client.expect_echo(server.v4(8080));

    agent.kill();
    let before = app.count("accepted");
    let sniffer = mesh.sniff();
    for addr in [server.v4(8080), server.v6(8080)] {
        let talk = client.hello(addr);
        assert!(
            talk.is_refused() && talk.took() < Duration::from_secs(2),
            "{talk:?}"
        );
    }
    assert!(!sniffer.stop().contain(b"hello"), "plaintext on the wire");
    assert_eq!(app.count("accepted"), before);

    mesh.start_agent(mesh.agent("n1").on_exit(OnExit::Hold));
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}
