//! What a port speaks, where its Service says it and where nothing does.

use std::{thread, time::Duration};

use serde_json::{Value, json};
use weir_tests::{
    Pod, ServiceHandle, Talk, eventually,
    manifests::{self, backend, parent},
};

use super::{Shop, ask, outcome};

/// Marks what was treated as HTTP.
fn marked() -> Value {
    json!([{
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-routed", "value": "yes"}]}}],
        "backendRefs": [backend("v1")],
    }])
}

fn is_routed(client: &Pod, service: &ServiceHandle) -> bool {
    let answer = ask(client, service, "GET /").send();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-routed") == Some("yes")
}

#[test]
fn a_port_speaks_what_it_says_and_else_what_the_first_bytes_are() {
    let shop = Shop::new();
    let ports = |name: &str| shop.mesh.new_service(name);
    let pods = [&shop.v1];
    let http = [
        ports("app-http").port(80, 8080, "http").of(&pods),
        ports("app-ws").port(80, 8080, "kubernetes.io/ws").of(&pods),
        ports("name-http")
            .named_port("http-web", 80, 8080)
            .of(&pods),
        ports("name-says-nothing")
            .named_port("web", 80, 8080)
            .of(&pods),
    ];
    let opaque = [
        ports("app-tcp").port(80, 8080, "tcp").of(&pods),
        ports("name-tcp").named_port("tcp-web", 80, 8080).of(&pods),
        // The first word counts more than the second.
        ports("app-unknown")
            .port(80, 8080, "example.org/own")
            .of(&pods),
    ];
    for service in http.iter().chain(&opaque) {
        shop.route(&service.name, marked());
    }
    // A server that nobody of Weir wrote, which sees the client's own address.
    let _nginx = shop.v2.nginx(9080, "welcome");
    let nginx = ports("nginx").named_port("http", 80, 9080).of(&[&shop.v2]);
    shop.mesh.start_agents();

    for client in shop.clients() {
        assert_eq!(client.curl(nginx.v4, "/"), "welcome");
        assert_eq!(client.curl(nginx.v4, "/whoami"), client.ipv4().to_string());
        for service in &http {
            assert!(is_routed(client, service), "{}", service.name);
        }
        for service in &opaque {
            assert!(!is_routed(client, service), "{}", service.name);
        }
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 4);
    shop.mesh.expect_tunnelled(&shop.far, &shop.v1, 3);
}

fn quickest(talks: &[Talk]) -> Duration {
    talks.iter().map(Talk::took).min().unwrap_or_default()
}

/// Neither who speaks first nor what it is costs time, where nothing is declared.
#[test]
fn other_protocols_are_not_delayed_through_an_undeclared_port() {
    let shop = Shop::new();
    let _apps = [shop.v1.serve("greet", 3306), shop.v1.serve("echo", 7070)];
    let port = |name: &str, target| {
        shop.mesh
            .new_service(name)
            .named_port("main", 80, target)
            .of(&[&shop.v1])
    };
    let (greeter, echo) = (port("greeter", 3306), port("echo", 7070));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let greetings: Vec<_> = (0..10)
            .map(|_| client.talk(greeter.v4, &["line"]))
            .collect();
        for talk in &greetings {
            assert_eq!(talk.received(), "5.7.0-greeter\n", "{talk:?}");
            assert!(talk.took() < Duration::from_secs(2), "{talk:?}");
        }
        assert!(
            quickest(&greetings) < Duration::from_millis(50),
            "{greetings:?}"
        );
        // And then it speaks both ways.
        let more = client.talk(greeter.v4, &["line", "send:abc", "recv:3", "eof", "drain"]);
        assert!(more.received().ends_with("abc"), "{more:?}");

        // Bytes that begin no known protocol, and ones that begin like HTTP and are not.
        for text in [
            "\u{1}\u{2}binary",
            "GETTING on",
            "PRI nothing",
            "EHLO a\r\n",
            "P",
        ] {
            let steps = [format!("send:{text}"), format!("recv:{}", text.len())];
            let steps = [steps[0].as_str(), steps[1].as_str()];
            let talks: Vec<_> = (0..4).map(|_| client.talk(echo.v4, &steps)).collect();
            for talk in &talks {
                assert_eq!(talk.received(), text, "{talk:?}");
            }
            let limit = match text {
                // One letter may still become a method: the wait for more is bounded.
                "P" => Duration::from_millis(1_000),
                _ => Duration::from_millis(50),
            };
            assert!(quickest(&talks) < limit, "{text:?}: {talks:?}");
        }
    }
    shop.mesh.expect_tunnelled(&shop.far, &shop.v1, 20);
}

/// A slow client's silence says nothing about the server: only a server's first bytes do.
#[test]
fn a_slow_http_client_is_not_taken_for_something_else() {
    let shop = Shop::new();
    let web = shop
        .mesh
        .new_service("web")
        .named_port("main", 80, 8080)
        .of(&[&shop.v1]);
    shop.route("web", marked());
    shop.mesh.start_agents();

    for client in shop.clients() {
        let first = "send:GET / HTTP/1.1\r\n";
        let rest = "send:Host: web\r\nConnection: close\r\n\r\n";
        let split = [
            "wait",
            "send:GE",
            "wait",
            "send:T / HTTP/1.1\r\n",
            "wait",
            rest,
            "drain",
        ];
        for steps in [&["wait", first, rest, "drain"][..], &split[..]] {
            let talker = client.talker(&[], web.v4, steps);
            for wait in 1..=steps.iter().filter(|step| **step == "wait").count() {
                // What makes the client slow: three times what dialling waits for its first byte.
                thread::sleep(Duration::from_millis(300));
                talker.tell("go on");
                eventually("the client goes on", Duration::from_secs(5), || {
                    let waited = talker
                        .events()
                        .iter()
                        .filter(|event| event["step"] == "wait")
                        .count();
                    (waited >= wait).then_some(()).ok_or(waited)
                });
            }
            let run = talker.finish();
            assert!(run.stdout.contains("x-routed: yes"), "{run:?}");
        }
        // Nor has anything been learnt from it.
        assert!(is_routed(client, &web));
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 3);
}

fn curl_tls(client: &Pod, service: &ServiceHandle, name: &str) -> Result<String, String> {
    let port = service.v4.port();
    let run = client
        .command("curl")
        .args(["-sSk", "--max-time", "10", "--noproxy", "*"])
        .args(["--resolve", &format!("{name}:{port}:{}", service.v4.ip())])
        .arg(format!("https://{name}:{port}/"))
        .run();
    match run.ok() {
        true => Ok(run.stdout),
        false => Err(run.stderr),
    }
}

/// TLS of the application's own passes through; its SNI is in the log and chooses a TLSRoute.
#[test]
fn tls_passes_through_and_is_routed_by_its_name() {
    let shop = Shop::new();
    let _servers = [
        shop.v1.nginx_tls(8443, "one"),
        shop.v2.nginx_tls(8443, "two"),
    ];
    let service = |name: &str| shop.mesh.new_service(name);
    let undeclared = service("undeclared")
        .named_port("main", 443, 8443)
        .of(&[&shop.v1]);
    let declared = service("declared").port(443, 8443, "https").of(&[&shop.v1]);
    for (name, pod) in [("tls-v1", &shop.v1), ("tls-v2", &shop.v2)] {
        service(name).port(443, 8443, "https").of(&[pod]);
    }
    let routed = service("routed").port(443, 8443, "https").of(&[&shop.v1]);
    let to = |name: &str| json!([{"name": name, "port": 443}]);
    for (name, hosts, target) in [
        ("exact", &["two.example.org"][..], "tls-v2"),
        ("wildcard", &["*.example.org"][..], "tls-v1"),
    ] {
        shop.mesh.apply(&manifests::tls_route(
            "shop",
            name,
            parent("routed"),
            hosts,
            to(target),
        ));
    }
    shop.mesh.start_agents();

    for client in shop.clients() {
        for service in [&undeclared, &declared] {
            assert_eq!(
                curl_tls(client, service, "shop.example.com").as_deref(),
                Ok("one")
            );
        }
        for (name, page) in [
            ("two.example.org", "two"),
            ("one.example.org", "one"),
            ("a.b.example.org", "one"),
        ] {
            assert_eq!(
                curl_tls(client, &routed, name).as_deref(),
                Ok(page),
                "{name}"
            );
        }
        // A name that no TLSRoute has gets nothing (Gateway API, TLSRoute).
        let nobody = curl_tls(client, &routed, "example.com");
        assert!(nobody.is_err(), "{nobody:?}");
    }
    let agent = shop.mesh.agent_of(&shop.far);
    eventually("the name in the access log", Duration::from_secs(5), || {
        let log = agent.access_log();
        let names = log
            .iter()
            .filter(|entry| entry["sni"] == "shop.example.com")
            .count();
        (names >= 2).then_some(()).ok_or(log)
    });
    shop.mesh.expect_tunnelled(&shop.far, &shop.v2, 1);
}

/// TCPRoute: connections by weight.
#[test]
fn opaque_connections_are_split_by_a_tcp_route() {
    let shop = Shop::new();
    let apps = [shop.v1.serve("echo", 7070), shop.v2.serve("echo", 7070)];
    for (name, pod) in [("tcp-v1", &shop.v1), ("tcp-v2", &shop.v2)] {
        shop.mesh.service(name, 70, 7070, &[pod]);
    }
    let split = shop.mesh.service("split", 70, 7070, &[&shop.v1]);
    let route = |v1: u32, v2: u32| {
        let backends = json!([
            {"name": "tcp-v1", "port": 70, "weight": v1},
            {"name": "tcp-v2", "port": 70, "weight": v2},
        ]);
        manifests::tcp_route("shop", "split", parent("split"), backends)
    };
    shop.mesh.apply(&route(1, 1));
    let absent = shop.mesh.service("absent", 70, 7070, &[&shop.v1]);
    let nowhere = json!([{"name": "nobody", "port": 70}]);
    shop.mesh.apply(&manifests::tcp_route(
        "shop",
        "absent",
        parent("absent"),
        nowhere,
    ));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let before: Vec<_> = apps.iter().map(|app| app.count("accepted")).collect();
        for _ in 0..60 {
            client.expect_echo(split.v4);
        }
        for (app, before) in apps.iter().zip(before) {
            let here = app.count("accepted") - before;
            assert!((10..=50).contains(&here), "{here} of 60");
        }
        let refused = client.hello(absent.v4);
        assert!(refused.is_refused(), "{refused:?}");
    }
    shop.mesh.apply(&route(0, 1));
    let v1 = || apps[0].count("accepted");
    eventually("the new weights", Duration::from_secs(5), || {
        let before = v1();
        for _ in 0..10 {
            shop.far.expect_echo(split.v4);
        }
        (v1() == before).then_some(()).ok_or(())
    });
    shop.mesh.expect_tunnelled(&shop.far, &shop.v2, 10);
}

/// `appProtocol` may change while the port is in use.
#[test]
fn what_a_port_speaks_may_change_live() {
    let shop = Shop::new();
    let web = shop.routed("web", marked());
    shop.mesh.start_agents();
    assert!(is_routed(&shop.far, &web));
    let mut service = web.manifest();
    service["spec"]["ports"][0]["appProtocol"] = json!("tcp");
    shop.mesh.apply(&service);
    ask(&shop.far, &web, "GET /").until("opaque", |answer| {
        answer.status == 200 && answer.header("x-routed").is_none()
    });
    shop.mesh.apply(&web.manifest());
    let answer = ask(&shop.far, &web, "GET /")
        .until("HTTP again", |answer| answer.header("x-routed").is_some());
    assert_eq!(outcome(&answer), "v1");
}
