//! What the scenarios take for granted of their programs.

use std::time::Duration;

use weir_tests::{Mesh, ip_in};

#[test]
fn real_programs_run() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _nginx = server.nginx(80, "welcome");
    let _redis = server.redis(6379);
    for addr in [server.v4(80), server.v6(80)] {
        assert_eq!(client.curl(addr, "/"), "welcome");
    }
    assert_eq!(
        client.curl(server.v4(80), "/whoami"),
        client.ipv4().to_string()
    );
    let pong = client
        .command("redis-cli")
        .args(["-h", &server.ipv4().to_string(), "ping"])
        .run();
    assert_eq!(pong.expect_ok().trim(), "PONG");
}

#[test]
fn steps_of_a_conversation() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let echo = server.serve("echo", 8080);
    let _greeter = server.serve("greet", 3306);
    let _half = server.serve("reply-at-eof", 8081);
    let _first = server.serve("close-first", 8082);
    let _reset = server.serve("reset", 8083);
    assert_eq!(
        client.talk(server.v4(3306), &["line"]).received(),
        "5.7.0-greeter\n"
    );
    assert_eq!(
        client
            .talk(server.v4(8081), &["send:abc", "eof", "drain"])
            .received(),
        "got 3\n"
    );
    assert_eq!(
        client
            .talk(server.v4(8082), &["drain", "send:abc"])
            .received(),
        "bye\n"
    );
    assert_eq!(
        client.talk(server.v4(8083), &["send:abc", "drain"]).error(),
        "reset"
    );
    assert_eq!(client.talk(server.v4(1), &["send:abc"]).error(), "refused");
    assert!(
        client
            .talk(server.v4(8080), &["send:abc", "recv:3", "reset"])
            .is_ok()
    );
    assert_eq!(echo.event_named("closed")["how"], "reset");
}

#[test]
fn addresses_are_told() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let app = server.serve("whoami", 8080);
    let talk = client.talk_with(&["--mapped", "--nonblocking"], server.v4(8080), &["line"]);
    assert_eq!(talk.peer().ip().to_canonical(), server.ipv4());
    assert!(talk.peer().is_ipv6(), "{talk:?}");
    assert!(talk.0["in_progress"].is_boolean());
    let accepted = app.event_named("accepted");
    let seen = ip_in(&accepted, "accept").unwrap().to_canonical();
    assert_eq!(seen, client.ipv4());
}

#[test]
fn bulk_both_ways() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let app = server.serve("bulk:50000000", 8080);
    let args = ["bulk", &server.v4(8080).to_string(), "50000000"];
    let run = client.testprog(&args).run().expect_ok();
    assert!(
        run.contains(r#""error":null"#) && run.contains(r#""received":50000000"#),
        "{run}"
    );
    assert_eq!(app.event_named("served")["received"], 50_000_000);
}

#[test]
fn many_connections_are_held() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    let held = client
        .testprog(&["hold", &server.v4(8080).to_string(), "2000"])
        .spawn();
    assert_eq!(held.event_named("open")["count"], 2000);
    held.tell("check");
    assert_eq!(held.event_named("checked")["ok"], 2000);
}

#[test]
fn load_counts_what_fails() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let echo = server.serve("echo", 8080);
    let load = client.load(server.v4(8080), 100);
    load.wait_for_more(50);
    drop(echo);
    let (ok, failures) = {
        weir_tests::never(
            "time enough for a failure",
            Duration::from_millis(200),
            || None::<()>,
        );
        load.stop()
    };
    assert!(ok >= 50 && !failures.is_empty(), "{ok} {failures:?}");
}

#[test]
fn one_source_port_dials_many() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _a = server.serve("whoami", 8080);
    let _b = server.serve("whoami", 8081);
    let (to_a, to_b) = (server.v4(8080).to_string(), server.v4(8081).to_string());
    let run = client
        .testprog(&["dial-many", "0.0.0.0:40000", &to_a, &to_b])
        .spawn();
    let from = client.v4(40000).to_string();
    for to in [to_a, to_b] {
        assert_eq!(
            run.event(|e| e["to"] == to.as_str())["local"],
            from.as_str()
        );
    }
}

#[test]
fn udp_answers() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let udp = server.testprog(&["udp-serve", "[::]:5353"]).spawn();
    udp.event_named("listening");
    let talk = client
        .testprog(&["udp-talk", &server.v4(5353).to_string(), "hi"])
        .spawn();
    assert_eq!(talk.event_named("answered")["received"], "hi");
}

#[test]
fn the_sniffer_sees_plaintext() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    let sniffer = mesh.sniff();
    assert!(
        client
            .talk(server.v4(8080), &["send:the secret", "recv:10"])
            .is_ok()
    );
    let frames = sniffer.stop();
    assert!(frames.contain(b"the secret"));
    assert!(!frames.has_client_hello_to(8080));
    assert!(frames.bytes_to_port(8080) >= 10);
}
