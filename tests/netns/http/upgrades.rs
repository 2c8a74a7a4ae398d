//! Connections that become something else: WebSocket, other upgrades, CONNECT; and h2c, which does not
//! go by an upgrade any more.

use serde_json::json;

use super::{Shop, ask, seen, to};

#[test]
fn websockets_are_routed_and_carried_both_ways() {
    let shop = Shop::new();
    let _chat = [shop.v1.websocket(9090), shop.v2.websocket(9090)];
    let service = |name: &str| shop.mesh.new_service(name).port(80, 9090, "http");
    service("chat-v1").of(&[&shop.v1]);
    let chat = service("chat").of(&[&shop.v1, &shop.v2]);
    shop.route(
        "chat",
        json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/room"}}], "backendRefs": to("chat-v1")}]),
    );
    let plain = shop
        .mesh
        .new_service("ws")
        .port(80, 9090, "kubernetes.io/ws")
        .of(&[&shop.v1]);
    let unsaid = shop
        .mesh
        .new_service("unsaid")
        .named_port("web", 80, 9090)
        .of(&[&shop.v1]);
    shop.mesh.start_agents();

    for client in shop.clients() {
        for service in [&chat, &plain, &unsaid] {
            let messages = ["hello", "binary:1000000", "again", "binary:0"];
            let talk = client.websocket_talk(service.v4, "/room/1", &messages);
            assert_eq!(
                talk["answers"],
                json!(["hello", 1_000_000, "again", 0]),
                "{talk}"
            );
            assert_eq!(talk["code"], 1000, "an orderly close: {talk}");
        }
        let refused = client.websocket_talk(chat.v4, "/elsewhere", &[]);
        assert_eq!(refused, json!({"status": 404, "reason": "no_route"}));
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 101, &[], 3);
}

#[test]
fn connect_and_other_upgrades_become_streams() {
    let shop = Shop::new();
    let web = shop.routed("web", super::all_to("v1"));
    shop.mesh.start_agents();

    let upgrade = "GET /x HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let connect = "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n";
    for client in shop.clients() {
        for (head, status) in [(upgrade, "HTTP/1.1 101"), (connect, "HTTP/1.1 200")] {
            // What follows the head at once is the stream's; and the end of one direction is passed on.
            let talk = client.talk(
                web.v4,
                &[&format!("send:{head}early"), "send: later", "eof", "drain"],
            );
            let (answer, echoed) = talk.received().split_once("\r\n\r\n").unwrap_or_default();
            assert!(answer.starts_with(status), "{talk:?}");
            assert_eq!(echoed, "early later", "{talk:?}");
        }
        // An application that does not want to: an ordinary answer, and the connection goes on.
        let declined = ask(client, &web, "GET / connection:upgrade upgrade:nothing");
        let answers = declined.times(2).send_all();
        assert!(
            answers.iter().all(|answer| answer.is_from("v1")),
            "{answers:?}"
        );
        assert_eq!(answers[1].dials, 0);
    }
}

/// RFC 9113 §3.1: `Upgrade: h2c` is no more. HTTP/2 by prior knowledge is spoken on both sides.
#[test]
fn http2_is_spoken_by_prior_knowledge_alone() {
    let shop = Shop::new();
    let web = shop.service("web");
    let h2c = shop
        .mesh
        .new_service("h2c")
        .port(80, 8080, "kubernetes.io/h2c")
        .of(&[&shop.v1]);
    shop.mesh.start_agents();

    for client in shop.clients() {
        // curl --http2 asks for the upgrade and goes on with what it gets.
        let asked = ask(client, &web, "GET /").flags(&["--http2"]).send();
        assert_eq!(
            (asked.status, asked.version.as_str()),
            (200, "1.1"),
            "{asked:?}"
        );
        assert_eq!(seen(&asked, "upgrade"), None);
        assert_eq!(seen(&asked, "http2-settings"), None);

        let known = ask(client, &web, "GET /").h2().send();
        assert_eq!(
            (known.status, known.version.as_str()),
            (200, "2"),
            "{known:?}"
        );
        // A port that speaks h2c gets it whatever the client speaks.
        for request in [ask(client, &h2c, "GET /"), ask(client, &h2c, "GET /").h2()] {
            let answer = request.send();
            assert_eq!(answer.report()["version"], "HTTP/2.0", "{answer:?}");
        }
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 2);
}
