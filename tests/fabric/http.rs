//! The HTTP, gRPC and WebSocket programs, each asked directly.

use std::time::Duration;

use serde_json::json;
use weir_tests::Mesh;

#[test]
fn an_http_application_tells_what_it_received() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let app = server.http(8080);
    for addr in [server.v4(8080), server.v6(8080)] {
        let plain = client
            .request(addr, "/a/../b?x=%41")
            .header("x-color", "blue");
        for answer in [plain.clone().send(), plain.h2().send()] {
            assert!(answer.is_from("server"), "{answer:?}");
            assert_eq!(answer.report()["path"], "/a/../b?x=%41");
            assert_eq!(answer.seen("x-color").as_deref(), Some("blue"));
            assert_eq!(answer.report()["host"], addr.to_string());
        }
    }
    let posted = client.request(server.v4(8080), "/").body("abc").send();
    assert_eq!(posted.report()["method"], "POST");
    assert_eq!(posted.report()["body_bytes"], 3);
    let sum = posted.report()["body_sha256"].to_string();
    assert!(sum.contains("ba7816bf8f01cfea"), "{sum}");
    assert_eq!(app.count("request"), 5);
}

#[test]
fn an_http_application_does_what_the_query_says() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _app = server.http(8080);
    let addr = server.v4(8080);
    let answer = client.get(addr, "/?status=503&delay=300ms&set=x-a:1&set=x-a:2");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["x-a"], ["1", "2"]);
    assert!(
        answer.first_byte >= Duration::from_millis(300),
        "{answer:?}"
    );
    assert_eq!(client.get(addr, "/?bytes=100000").body.len(), 100_000);
    let slow = client.get(addr, "/?chunks=3&every=100ms");
    assert_eq!(slow.body, "chunk 0\nchunk 1\nchunk 2\n");
    assert!(
        slow.took - slow.first_byte >= Duration::from_millis(200),
        "{slow:?}"
    );
    for request in [
        client.request(addr, "/?break"),
        client.request(addr, "/?break").h2(),
    ] {
        let broken = request.send();
        assert_eq!(broken.status, 200);
        assert!(broken.error.is_some(), "{broken:?}");
    }
    let several = client.request(addr, "/").times(3).send_all();
    assert_eq!(several.iter().map(|answer| answer.dials).sum::<u64>(), 1);
    let closed = client.request(addr, "/?close").times(3).send_all();
    assert_eq!(closed.iter().map(|answer| answer.dials).sum::<u64>(), 3);
    let trailers = client
        .command("curl")
        .args(["-s", "--http2-prior-knowledge", "-D", "-"])
        .arg(format!("http://{addr}/?trailers"))
        .run()
        .expect_ok();
    assert!(trailers.contains("x-trailer: sent"), "{trailers}");
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    for head in [upgrade, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"] {
        let talk = client.talk(addr, &[&format!("send:{head}hello"), "eof", "drain"]);
        assert!(talk.received().ends_with("hello"), "{talk:?}");
    }
}

#[test]
fn grpc_calls_of_every_kind() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _app = server.grpc(8080);
    let addr = server.v4(8080);
    let calls = client
        .call(addr, "/shop.Cart/Unary")
        .metadata("x-user", "ada")
        .send_all(2);
    for call in calls {
        assert_eq!((call.code(), call.server()), ("OK", "server"));
        assert_eq!(call.answers()[0]["metadata"]["x-user"], json!(["ada"]));
        assert_eq!(call.0["trailing"]["x-trailing"], "sent");
    }
    let stream = client
        .call(addr, "/shop.Cart/ServerStream")
        .message(&json!({"count": 3, "every": 0.1}))
        .send();
    assert!(
        stream.arrivals()[2] >= Duration::from_millis(200),
        "{stream:?}"
    );
    let bidi = client.call(addr, "/shop.Cart/Bidi").messages(5).send();
    assert_eq!(bidi.answers().len(), 5);
    let sent = client
        .call(addr, "/shop.Cart/ClientStream")
        .messages(5)
        .send();
    assert_eq!(sent.answers()[0]["received"], 5);
    let failed = client
        .call(addr, "/shop.Cart/Fail")
        .message(&json!({"code": "NOT_FOUND", "details": "no such cart"}))
        .send();
    assert_eq!(failed.code(), "NOT_FOUND");
    assert_eq!(failed.0["details"], "no such cart");
}

#[test]
fn messages_over_a_websocket_come_back() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _app = server.websocket(8080);
    let talk = client.websocket_talk(server.v4(8080), "/chat", &["hello", "binary:100000"]);
    assert_eq!(talk["answers"], json!(["hello", 100_000]));
}
