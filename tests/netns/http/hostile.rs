//! HTTP/2 that nobody should send, from a client and from an application: it ends there, within
//! bounds, and costs nobody else anything.

use serde_json::Value;
use weir_tests::{Agent, Pod, ServiceHandle};

use super::{Shop, ask};

const MIB: u64 = 1 << 20;

fn hostile_client(client: &Pod, service: &ServiceHandle, kind: &str) -> Value {
    let (addr, port) = (service.v4.ip().to_string(), service.v4.port().to_string());
    let run = client
        .python("hostile_http2.py", &["client", &addr, &port, kind])
        .run()
        .expect_ok();
    serde_json::from_str(&run).unwrap()
}

/// How far its memory may go beyond what it was: mimalloc keeps what it once had.
fn expect_small(agent: &Agent, before: u64, kind: &str) {
    let grown = agent.process().rss_bytes().saturating_sub(before);
    assert!(grown < 48 * MIB, "{kind}: grown by {} MiB", grown / MIB);
}

#[test]
fn hostile_frames_of_a_client_end_its_connection_alone() {
    let shop = Shop::new();
    let web = shop.routed("web", super::all_to("v1"));
    shop.mesh.start_agents();
    let agent = shop.mesh.agent_of(&shop.far);
    assert!(ask(&shop.far, &web, "GET /").h2().send().is_from("v1"));
    let before = agent.process().rss_bytes();

    // Floods cost the flooder its connection.
    for kind in [
        "rapid-reset",
        "continuation",
        "empty-frames",
        "headers-list",
    ] {
        let report = hostile_client(&shop.far, &web, kind);
        let ended = report["ended"].as_str().unwrap_or_default();
        let refused = kind == "headers-list" && ended == "answer";
        assert!(
            matches!(ended, "goaway" | "closed" | "reset") || refused,
            "{report}"
        );
        expect_small(&agent, before, kind);
    }
    // These are read and dropped as fast as they come and the request behind them is answered, or they
    // end the connection; what they never do is pile up.
    for kind in ["settings", "ping"] {
        let report = hostile_client(&shop.far, &web, kind);
        let ended = report["ended"].as_str().unwrap_or_default();
        assert!(matches!(ended, "answer" | "goaway" | "closed"), "{report}");
        expect_small(&agent, before, kind);
    }
    // What breaks the protocol ends the stream or the connection (RFC 9113 §5.4), and no such request
    // is passed on.
    let requests = shop.apps[0].count("request");
    for kind in [
        "window",
        "data-on-0",
        "oversized",
        "upper-case",
        "connection-header",
        "transfer-encoding",
        "no-path",
        "crlf",
    ] {
        let report = hostile_client(&shop.far, &web, kind);
        let ended = report["ended"].as_str().unwrap_or_default();
        assert!(matches!(ended, "goaway" | "closed" | "reset"), "{report}");
    }
    // `:authority` and Host that differ: 400 (RFC 9113 §8.3.1).
    let report = hostile_client(&shop.far, &web, "two-hosts");
    assert!(
        matches!(report["ended"].as_str(), Some("reset" | "answer")),
        "{report}"
    );
    assert_eq!(
        shop.apps[0].count("request"),
        requests,
        "{}",
        shop.apps[0].stdout()
    );
    // A length that lies: the application may see the beginning, never more than it was told.
    let report = hostile_client(&shop.far, &web, "length-lies");
    assert!(
        matches!(
            report["ended"].as_str(),
            Some("reset" | "goaway" | "closed" | "answer")
        ),
        "{report}"
    );
    let long = shop.apps[0].events();
    let long = long.iter().find(|event| event["bytes"].as_u64() > Some(5));
    assert!(long.is_none(), "{long:?}");

    for client in shop.clients() {
        assert!(ask(client, &web, "GET /").h2().send().is_from("v1"));
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 3);
}

#[test]
fn hostile_frames_of_an_application_are_a_bad_gateway() {
    let shop = Shop::new();
    let kinds = [
        ("reset", true),
        ("goaway", true),
        ("continuation", true),
        ("garbage", true),
        ("data-first", true),
        ("headers-list", true),
        // The head was good: the body breaks off.
        ("oversized", false),
        ("length-lies", false),
    ];
    let mut running = Vec::new();
    let services: Vec<_> = (9100..)
        .zip(kinds)
        .map(|(port, (kind, has_no_head))| {
            let server = shop
                .v2
                .python("hostile_http2.py", &["server", &port.to_string(), kind])
                .spawn();
            server.event_named("listening");
            running.push(server);
            let service = shop
                .mesh
                .new_service(kind)
                .port(80, port, "kubernetes.io/h2c")
                .of(&[&shop.v2]);
            (service, has_no_head)
        })
        .collect();
    // A million frames without a byte, and then the end: wrong in nothing but their number.
    let server = shop
        .v2
        .python("hostile_http2.py", &["server", "9099", "empty-frames"])
        .spawn();
    server.event_named("listening");
    let empty = shop
        .mesh
        .new_service("empty")
        .port(80, 9099, "kubernetes.io/h2c")
        .of(&[&shop.v2]);
    let web = shop.routed("web", super::all_to("v1"));
    shop.mesh.start_agents();
    let before = shop.clients().map(|client| {
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
        shop.mesh.agent_of(client).process().rss_bytes()
    });

    for (client, before) in shop.clients().into_iter().zip(before) {
        for (service, has_no_head) in &services {
            let kind = &service.name;
            let answer = ask(client, service, "GET /").send();
            if *has_no_head {
                assert!(matches!(answer.status, 502 | 503), "{kind}: {answer:?}");
                assert!(answer.reason().is_some(), "{kind}: {answer:?}");
            } else {
                assert!(
                    answer.status == 502 || answer.error.is_some(),
                    "{kind}: {answer:?}"
                );
            }
            expect_small(&shop.mesh.agent_of(client), before, kind);
        }
        let answer = ask(client, &empty, "GET /").send();
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        expect_small(&shop.mesh.agent_of(client), before, "empty frames");
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
    }
}

/// The same of HTTP/1.1: what cannot be read for certain is not passed on.
#[test]
fn broken_answers_of_an_application_are_a_bad_gateway() {
    let shop = Shop::new();
    let head = "HTTP/1.1 200 OK\r\n";
    let huge = format!("{head}x-huge: {}\r\n\r\n", "y".repeat(200_000));
    let endless = format!("{head}{}", "x-a: b\r\n".repeat(20_000));
    let answers = [
        ("nothing", String::new()),
        ("not-http", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()),
        ("no-status", "HTTP/1.1 OK\r\n\r\n".to_owned()),
        (
            "two-lengths",
            format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
        ),
        ("bad-length", format!("{head}content-length: two\r\n\r\nab")),
        ("half-a-head", format!("{head}x-a: b\r\n")),
        ("huge", huge),
        ("endless", endless),
        ("name", format!("{head}x(a: b\r\ncontent-length: 0\r\n\r\n")),
        (
            "switching",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n"
                .to_owned(),
        ),
    ];
    let mut running = Vec::new();
    let services: Vec<_> = (9200..)
        .zip(&answers)
        .map(|(port, (name, text))| {
            let file = shop.v2.dir().join(name);
            std::fs::write(&file, text).unwrap();
            running.push(shop.v2.serve(&format!("canned:@{}", file.display()), port));
            shop.mesh
                .new_service(name)
                .port(80, port, "http")
                .of(&[&shop.v2])
        })
        .collect();
    // Bodies that break: the head is out, the client must notice.
    let bodies = [
        ("short-body", format!("{head}content-length: 10\r\n\r\nabc")),
        (
            "bad-chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n"),
        ),
        (
            "no-last-chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ),
    ];
    let broken: Vec<_> = (9300..)
        .zip(&bodies)
        .map(|(port, (name, text))| {
            running.push(shop.v2.serve(&format!("canned:{text}"), port));
            shop.mesh
                .new_service(name)
                .port(80, port, "http")
                .of(&[&shop.v2])
        })
        .collect();
    let both = format!(
        "{head}content-length: 100\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    running.push(shop.v2.serve(&format!("canned:{both}"), 9400));
    let both = shop
        .mesh
        .new_service("both")
        .port(80, 9400, "http")
        .of(&[&shop.v2]);
    shop.mesh.start_agents();

    let mut wrong = Vec::new();
    for client in shop.clients() {
        for service in &services {
            let answer = ask(client, service, "GET /").send();
            if answer.status != 502 || answer.reason().is_none() {
                let (status, reason) = (answer.status, answer.reason());
                wrong.push(format!(
                    "{} from {}: {status} {reason:?} {:?}",
                    service.name,
                    client.name(),
                    answer.error
                ));
            }
        }
        for service in &broken {
            let answer = ask(client, service, "GET /").send();
            if answer.error.is_none() {
                wrong.push(format!(
                    "{} from {} looks whole: {answer:?}",
                    service.name,
                    client.name()
                ));
            }
        }
        // One of the two lengths is a lie (RFC 9112 §6.3): never both to the client.
        let answer = ask(client, &both, "GET /").send();
        let is_safe = answer.status == 502
            || (answer.body == "abc" && answer.header("content-length").is_none_or(|n| n == "3"));
        if !is_safe {
            wrong.push(format!("both lengths from {}: {answer:?}", client.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
