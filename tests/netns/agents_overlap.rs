//! Two agents on one node: the old one drains, the new one has the pins, and new connections go to
//! it from that moment.

use std::time::Duration;

use weir_tests::{MUTUAL_TLS, Mesh, OnExit, eventually};

#[test]
fn a_successor_takes_over_while_the_old_agent_drains() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    let _other_node = mesh.start_agent(mesh.agent("n1"));
    let old = mesh.start_agent(mesh.agent("n2").drain_timeout("60s"));
    let steps = ["send:x", "recv:1", "wait", "send:y", "recv:1"];
    let long = client.talker(&[], server.v4(8080), &steps);
    long.event(|event| event["step"] == "recv:1");

    old.terminate();
    let new = mesh.start_agent(mesh.agent("n2").ports(25020, 25021));
    client.expect_echo(server.v4(8080));
    mesh.expect_reported("destination", &new, &client, &server, &MUTUAL_TLS, 1);

    // What was open stays with the old one, which ends when it is over.
    assert!(old.process().is_running());
    eventually("the drain's metric", Duration::from_secs(5), || {
        let waiting_for = old.metric("weir_drain_connections", &[]);
        if waiting_for == 1.0 {
            Ok(())
        } else {
            Err(waiting_for)
        }
    });
    long.tell("");
    long.event(|event| event["error"].is_null() && event["received"] == "xy");
    drop(long);
    assert!(
        old.wait_exit(Duration::from_secs(10)).success(),
        "{}",
        old.log()
    );

    // It was on `release`, and yet removed nothing of its successor's.
    client.expect_echo(server.v4(8080));
    mesh.expect_reported("destination", &new, &client, &server, &MUTUAL_TLS, 2);
}

#[test]
fn no_connection_fails_when_the_successor_is_there_first() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    let _other_node = mesh.start_agent(mesh.agent("n1"));
    let old = mesh.start_agent(mesh.agent("n2").on_exit(OnExit::Hold));
    let load = client.load(server.v4(8080), 100);
    load.wait_for_more(50);

    let new = mesh.start_agent(mesh.agent("n2").on_exit(OnExit::Hold).ports(25020, 25021));
    load.wait_for_more(50);
    old.stop();
    load.wait_for_more(50);
    let (ok, failures) = load.stop();
    assert!(failures.is_empty(), "{ok} succeeded, but {failures:?}");
    mesh.expect_reported("destination", &new, &client, &server, &MUTUAL_TLS, 50);
}

#[test]
fn a_successor_takes_over_the_dialling_side() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    let _other_node = mesh.start_agent(mesh.agent("n2"));
    let old = mesh.start_agent(mesh.agent("n1").drain_timeout("60s"));
    let steps = ["send:x", "recv:1", "wait", "send:y", "recv:1"];
    let long = client.talker(&[], server.v4(8080), &steps);
    long.event(|event| event["step"] == "recv:1");

    old.terminate();
    let new = mesh.start_agent(mesh.agent("n1").ports(25020, 25021));
    client.expect_echo(server.v4(8080));
    mesh.expect_reported("source", &new, &client, &server, &MUTUAL_TLS, 1);
    long.tell("");
    long.event(|event| event["error"].is_null() && event["received"] == "xy");
}
