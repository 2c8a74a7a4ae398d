//! A client that is not in the mesh: PERMISSIVE lets it in, STRICT refuses it, live.

use std::time::Duration;

use weir_tests::{Mesh, Pod, eventually, manifests};

fn strict() -> serde_json::Value {
    manifests::peer_authentication("shop", "default", None, "STRICT", &[])
}

#[test]
fn strict_refuses_plaintext_and_permissive_lets_it_in() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let app = server.serve("echo", 8080);
    mesh.start_agents();

    // PERMISSIVE is the default.
    for addr in [server.v4(8080), server.v6(8080)] {
        stranger.expect_echo(addr);
    }
    mesh.expect_plaintext_in(&server, 2);

    mesh.apply(&strict());
    becomes_refused(&stranger, &server);
    let before = app.count("accepted");
    for addr in [server.v4(8080), server.v6(8080)] {
        let talk = stranger.hello(addr);
        assert!(talk.is_refused(), "{talk:?}");
    }
    assert_eq!(app.count("accepted"), before, "the application saw it");
    let agent = mesh.agent_of(&server);
    agent.expect_failures(&["plaintext_refused"], 2);
    agent.expect_logged(&["plaintext_refused"]);
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);

    mesh.delete(&strict());
    eventually("PERMISSIVE again", Duration::from_secs(3), || {
        let talk = stranger.hello(server.v4(8080));
        talk.is_ok().then_some(()).ok_or(talk)
    });
}

#[test]
fn strict_closes_what_is_open() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    let steps = ["send:x", "recv:1", "drain"];
    let plain = stranger.talker(&[], server.v4(8080), &steps);
    let meshed = client.talker(
        &[],
        server.v4(8080),
        &["send:x", "recv:1", "wait", "send:y", "recv:1"],
    );
    for talker in [&plain, &meshed] {
        talker.event(|event| event["step"] == "recv:1");
    }

    mesh.apply(&strict());
    let ended = plain.finish_within(Duration::from_secs(3));
    assert!(ended.stdout.contains(r#""error":"reset""#), "{ended:?}");
    // What came by mutual TLS stays.
    meshed.tell("");
    meshed.event(|event| event["error"].is_null() && event["received"] == "xy");
    mesh.expect_tunnelled(&client, &server, 1);
}

pub(crate) fn becomes_refused(stranger: &Pod, server: &Pod) {
    eventually("STRICT acts", Duration::from_secs(3), || {
        let talk = stranger.hello(server.v4(8080));
        talk.is_refused().then_some(()).ok_or(talk)
    });
}
