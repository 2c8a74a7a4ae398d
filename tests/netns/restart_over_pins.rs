//! An agent stops and comes back, over the pins that `hold` left or the nothing of `release`.

use std::time::Duration;

use weir_tests::{Mesh, OnExit};

#[test]
fn hold_keeps_the_capture_for_the_next_agent() {
    let (mesh, client, server) = Mesh::client_and_server();
    let stranger = mesh.outside("stranger");
    let web = mesh.service("web", 80, 8080, &[&server]);
    let _echo = server.serve("echo", 8080);
    let hold = |node| mesh.start_agent(mesh.agent(node).on_exit(OnExit::Hold));
    let (source, destination) = (hold("n1"), hold("n2"));
    client.expect_echo(web.v4);
    mesh.expect_tunnelled(&client, &server, 1);

    destination.stop();
    assert!(mesh.bpffs("n2").exists());
    for talk in [stranger.hello(server.v4(8080)), client.hello(web.v4)] {
        assert!(
            !talk.is_ok() && talk.took() < Duration::from_secs(3),
            "{talk:?}"
        );
    }
    hold("n2");
    stranger.expect_echo(server.v4(8080));
    mesh.expect_plaintext_in(&server, 1);

    source.stop();
    assert!(client.hello(web.v4).is_refused());
    hold("n1");
    client.expect_echo(web.v4);
    mesh.expect_tunnelled(&client, &server, 1);
}

#[test]
fn release_opens_the_way_until_the_next_agent() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);

    for node in ["n1", "n2"] {
        mesh.agent_on(node).stop();
        assert!(!mesh.bpffs(node).exists());
    }
    client.expect_echo(server.v4(8080));

    mesh.start_agents();
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);
}

#[test]
fn a_drain_ends_at_its_timeout_and_sooner_when_idle() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agent(mesh.agent("n1"));
    let agent = mesh.start_agent(mesh.agent("n2").drain_timeout("3s"));
    let open = client.talker(&[], server.v4(8080), &["send:x", "recv:1", "drain"]);
    open.event(|event| event["step"] == "recv:1");
    mesh.expect_tunnelled(&client, &server, 1);

    let start = std::time::Instant::now();
    agent.stop();
    let took = start.elapsed();
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(6)).contains(&took),
        "{took:?}"
    );
    open.finish_within(Duration::from_secs(5));

    let agent = mesh.start_agent(mesh.agent("n2").drain_timeout("60s"));
    let start = std::time::Instant::now();
    agent.stop();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
