//! The HTTP, gRPC and WebSocket programs, each asked directly.

use std::time::Duration;

use serde_json::json;
use weir_tests::{Mesh, Request, eventually};

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

#[test]
fn an_http_application_takes_orders() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let app = server.http(8080);
    let addr = server.v4(8080);
    let statuses = |path: &str, count| -> Vec<u16> {
        let answers = client.request(addr, path).times(count).send_all();
        answers.iter().map(|answer| answer.status).collect()
    };
    app.order("answer next=2 status=503&set=retry-after:1");
    let answers = client.request(addr, "/?status=202").times(3).send_all();
    let heads = answers
        .iter()
        .map(|answer| (answer.status, answer.header("retry-after")));
    assert_eq!(
        heads.collect::<Vec<_>>(),
        [(503, Some("1")), (503, Some("1")), (202, None)]
    );
    app.order("answer percent=40 status=500");
    let failed = statuses("/", 20)
        .into_iter()
        .filter(|&status| status == 500);
    assert_eq!(failed.count(), 8);
    app.order("answer path=/healthz status=418");
    assert_eq!(statuses("/healthz", 2), [418, 418]);
    app.order("answer path=/healthz");
    app.order("answer");
    assert_eq!(statuses("/healthz", 1), [200]);

    let counts = app.order("counts");
    assert_eq!(counts["requests"], 26);
    assert_eq!(counts["by_path"]["/healthz"], 3);
    app.order("forget");
    client
        .request(addr, "/")
        .header("x-weir-retry-depth", "1")
        .send();
    assert_eq!(
        app.order("counts")["by_header"]["x-weir-retry-depth"],
        json!({"1": 1})
    );
    // A connection that is reset, and a client that goes.
    assert_eq!(client.get(addr, "/?reset").exit_code, 56);
    for query in ["hang", "delay=5s"] {
        let gone = client.request(addr, &format!("/?{query}"));
        gone.flags(&["--max-time", "0.3"]).send();
    }
    eventually("both are noticed", Duration::from_secs(5), || {
        let cancelled = app.counted("cancelled");
        (cancelled == 2).then_some(()).ok_or(cancelled)
    });
}

#[test]
fn an_http_application_has_a_capacity_and_calls_others() {
    let (mesh, client, server) = Mesh::client_and_server();
    let other = mesh.pod("other", "n2").enrolled();
    let app = server.http(8080);
    let next = other.http(8080);
    let addr = server.v4(8080);
    app.order("capacity 2");
    // Two at a time, each 100 ms: no more than 20 a second.
    let load = client.http_load_with(&["--path", "/?delay=100ms", "--count", "40"], addr, 200);
    let report = load.stop();
    assert!(report.is_all_well(), "{report:?}");
    assert!(report.seconds() >= 1.9, "{report:?}");
    assert!(app.counted("most") >= 10);
    app.order("capacity 0");

    next.order("answer status=503");
    let called = client
        .request(addr, "/")
        .header("x-call", &other.v4(8080).to_string())
        .header("tracestate", "a=1")
        .send();
    assert_eq!((called.status, called.server()), (503, "server".to_owned()));
    assert_eq!(called.report()["called"]["body"]["server"], "other");
    assert_eq!(
        next.order("counts")["by_header"]["tracestate"],
        json!({"a=1": 1})
    );
    drop(next);
    let called = client
        .request(addr, "/")
        .header("x-call", &other.v4(8080).to_string())
        .send();
    assert_eq!(called.status, 502);
}

#[test]
fn http_load_counts_what_comes_back() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let app = server.http(8080);
    app.order("answer percent=25 status=503&set=x-weir-reason:pool_full");
    let report = client
        .http_load_with(&["--count", "200"], server.v4(8080), 400)
        .stop();
    assert_eq!((report.sent(), report.answers("200")), (200, 150));
    assert_eq!(
        (report.answers("503 pool_full"), report.from("server")),
        (50, 150)
    );
    assert!(
        report.seconds() >= 0.49 && !report.is_all_well(),
        "{report:?}"
    );
    app.order("answer percent=50 delay=400ms");
    let flags = ["--count", "20", "--patience", "200"];
    let report = client.http_load_with(&flags, server.v4(8080), 100).stop();
    assert_eq!((report.answers("200"), report.number("late")), (10, 10));
    app.order("answer percent=50 delay=100ms");
    let flags = ["--count", "20", "--slow", "90"];
    let report = client.http_load_with(&flags, server.v4(8080), 100).stop();
    assert_eq!((report.number("slow"), report.is_all_well()), (10, true));

    let load = client.http_load(server.v4(8080), 100);
    load.wait_for_more(20);
    drop(app);
    eventually("failures show", Duration::from_secs(5), || {
        let report = load.report();
        (report.number("failed") > 0).then_some(()).ok_or(report)
    });
    assert!(!load.stop().is_all_well());
}

#[test]
fn several_requests_of_one_curl_each_have_their_own_headers() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let _app = server.http(8080);
    let one = |user: &str| client.request(server.v4(8080), "/").header("x-user", user);
    let answers = Request::send_each(vec![one("ada"), one("bob")]);
    let users: Vec<_> = answers.iter().map(|answer| answer.seen("x-user")).collect();
    assert_eq!(users, [Some("ada".to_owned()), Some("bob".to_owned())]);
}

#[test]
fn a_grpc_server_takes_orders() {
    let (_mesh, client, server) = Mesh::client_and_server();
    let app = server.grpc(8080);
    let addr = server.v4(8080);
    app.order("fail UNAVAILABLE 2");
    let calls = client.call(addr, "/shop.Cart/Unary").send_all(3);
    let codes: Vec<_> = calls.iter().map(weir_tests::Call::code).collect();
    assert_eq!(codes, ["UNAVAILABLE", "UNAVAILABLE", "OK"]);
    assert_eq!(app.counted("requests"), 3);
    let remaining = calls[2].answers()[0]["remaining"].as_f64();
    assert!(remaining.is_some_and(|seconds| (10.0..=20.5).contains(&seconds)));

    let gone = client
        .call(addr, "/shop.Cart/Unary")
        .message(&json!({"delay": 1}))
        .deadline(Duration::from_millis(300))
        .send();
    assert_eq!(gone.code(), "DEADLINE_EXCEEDED");
    app.event_named("cancelled");
    assert_eq!(client.grpc_health(addr, ""), "SERVING");
    app.order("health NOT_SERVING");
    app.order("health SERVING shop.Cart");
    assert_eq!(client.grpc_health(addr, ""), "NOT_SERVING");
    assert_eq!(client.grpc_health(addr, "shop.Cart"), "SERVING");
    assert_eq!(client.grpc_health(addr, "absent"), "NOT_FOUND");
}
