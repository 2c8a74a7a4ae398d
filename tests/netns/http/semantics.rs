//! What a good proxy keeps of HTTP (RFC 9110, 9112, 9113).

use std::time::Duration;

use weir_tests::{Pod, ServiceHandle};

use super::{Shop, ask, outcome, seen};

fn shop() -> (Shop, ServiceHandle) {
    let shop = Shop::new();
    let web = shop.routed("web", super::all_to("v1"));
    shop.mesh.start_agents();
    (shop, web)
}

/// The client's bytes to the service, and all that comes back until the end.
#[track_caller]
fn raw(client: &Pod, service: &ServiceHandle, text: &str) -> String {
    let talk = client.talk(service.v4, &[&format!("send:{text}"), "drain"]);
    assert!(talk.is_ok(), "{talk:?}");
    talk.received().to_owned()
}

#[test]
fn headers_of_one_hop_stay_there() {
    let (shop, web) = shop();
    for client in shop.clients() {
        let answer = ask(
            client,
            &web,
            "GET /?set=x-hop:1&set=connection:x-hop&set=keep-alive:timeout=1&set=x-kept:1 x-hop:1 x-kept:1 keep-alive:timeout=5 proxy-connection:close te:gzip",
        )
        .header("connection", "x-hop, keep-alive, te")
        .send();
        assert!(answer.is_from("v1"), "{answer:?}");
        for gone in ["x-hop", "keep-alive", "proxy-connection", "te"] {
            assert_eq!(seen(&answer, gone), None, "{gone}");
        }
        assert_eq!(seen(&answer, "x-kept").as_deref(), Some("1"));
        assert_eq!(
            (answer.header("x-hop"), answer.header("keep-alive")),
            (None, None)
        );
        assert_eq!(answer.header("x-kept"), Some("1"));

        // The application's connection and the client's are two.
        let answers = ask(client, &web, "GET /?close").times(5).send_all();
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(answers.iter().map(|answer| answer.dials).sum::<u64>(), 1);
        // Why Weir answered is for Weir to say.
        let forged = ask(client, &web, "GET /?set=x-weir-reason:no_route").send();
        assert_eq!(forged.reason(), None, "{forged:?}");
        // Of headers that say who came, the application gets Weir's alone.
        let line = "GET / x-forwarded-client-cert:URI=spiffe://evil forwarded:for=1.2.3.4";
        let told = seen(&ask(client, &web, line).send(), "x-forwarded-client-cert");
        let told = told.unwrap_or_default();
        let uri = format!("URI={}", client.principal());
        assert!(told.contains(&uri) && !told.contains("evil"), "{told}");
    }
}

#[test]
fn targets_and_versions_are_understood() {
    let (shop, web) = shop();
    for client in shop.clients() {
        let close = "Connection: close\r\n\r\n";
        // Absolute form: its host counts (RFC 9112 §3.2.2), the application gets the origin form.
        let absolute = raw(
            client,
            &web,
            &format!("GET http://web.example:8080/a?b HTTP/1.1\r\nHost: other\r\n{close}"),
        );
        assert!(absolute.contains(r#""path":"/a?b""#), "{absolute}");
        assert!(
            absolute.contains(r#""host":"web.example:8080""#),
            "{absolute}"
        );
        let asterisk = raw(
            client,
            &web,
            &format!("OPTIONS * HTTP/1.1\r\nHost: web\r\n{close}"),
        );
        assert!(asterisk.starts_with("HTTP/1.1 200"), "{asterisk}");
        // 1.0 needs no Host, and its answer ends with the connection.
        let old = raw(client, &web, "GET /old HTTP/1.0\r\n\r\n");
        assert!(
            old.contains(" 200 ") && old.contains(r#""path":"/old""#),
            "{old}"
        );
        assert!(
            !old.to_ascii_lowercase().contains("transfer-encoding"),
            "{old}"
        );
        // Two in one piece are answered in order.
        let two = "GET /first HTTP/1.1\r\nHost: web\r\n\r\nGET /second HTTP/1.1\r\nHost: web\r\n";
        let two = raw(client, &web, &format!("{two}{close}"));
        let (first, second) = (two.find("/first"), two.find("/second"));
        assert!(first.is_some() && first < second, "{two}");
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let (shop, web) = shop();
    for client in shop.clients() {
        for h2 in [false, true] {
            let ask = |line: &str| {
                let request = ask(client, &web, line);
                if h2 { request.h2() } else { request }
            };
            let got = ask("GET /").send();
            let head = ask("HEAD /").send();
            assert_eq!((head.status, head.body_bytes), (200, 0), "{head:?}");
            assert!(head.error.is_none(), "{head:?}");
            assert!(got.header("content-length").is_some(), "{got:?}");
            assert!(head.header("content-length").is_some(), "{head:?}");
            for status in [204, 304] {
                let answer = ask(&format!("GET /?status={status}")).send();
                assert_eq!(
                    (answer.status, answer.body_bytes),
                    (status, 0),
                    "{answer:?}"
                );
                assert_eq!(answer.header("transfer-encoding"), None);
                assert!(answer.error.is_none(), "{answer:?}");
            }
        }
        // The connection is good for more.
        for line in ["HEAD /", "GET /?status=204", "GET /?status=304"] {
            let answers = ask(client, &web, line).times(3).send_all();
            assert_eq!(
                answers.iter().map(|answer| answer.dials).sum::<u64>(),
                1,
                "{line}"
            );
        }
    }
}

#[test]
fn a_client_that_expects_100_is_told_when_to_go_on() {
    let (shop, web) = shop();
    let patience = ["--expect100-timeout", "10"];
    for client in shop.clients() {
        let body = "x".repeat(2_000_000);
        let file = client.dir().join("body");
        std::fs::write(&file, &body).unwrap();
        let file = format!("@{}", file.display());
        let upload = |path: &str| {
            ask(client, &web, &format!("POST {path} expect:100-continue"))
                .flags(&["--data-binary", &file])
                .flags(&patience)
                .send()
        };
        let taken = upload("/");
        assert!(taken.is_from("v1"), "{taken:?}");
        assert_eq!(taken.report()["body_bytes"], 2_000_000);
        assert!(taken.took < Duration::from_secs(5), "{taken:?}");
        // Refused before a byte of it was sent.
        let refused = upload("/?early&status=417");
        assert_eq!(refused.status, 417, "{refused:?}");
        assert!(refused.took < Duration::from_secs(5), "{refused:?}");
    }
    // Hints before the answer end at the next hop, the answer itself does not.
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let _app = shop.v2.serve(&format!("canned:{hints}"), 9090);
    let early = shop
        .mesh
        .new_service("hints")
        .port(80, 9090, "http")
        .of(&[&shop.v2]);
    for client in shop.clients() {
        let answer =
            ask(client, &early, "GET /").until("the service is known", |a| a.status == 200);
        assert_eq!(answer.body, "ok", "{answer:?}");
    }
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    let (shop, web) = shop();
    for client in shop.clients() {
        let file = client.dir().join("large");
        std::fs::File::create(&file)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let upload = file.display().to_string();
        let answer = ask(client, &web, "POST /?early&status=413 expect:")
            .flags(&["-T", &upload])
            .send();
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.took < Duration::from_secs(5), "{answer:?}");
        // curl 7.88 takes the reset that may follow (RFC 9113 §8.1) for an error.
        let url = format!("http://{}/?early&status=413", web.v4);
        let nghttp = client.command("nghttp").args(["-v", "-d", &upload, &url]);
        let told = nghttp.run().stdout;
        assert!(told.contains(":status: 413"), "{told}");
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
    }
}

#[test]
fn trailers_pass_both_ways() {
    let (shop, web) = shop();
    for client in shop.clients() {
        let request = "POST /?trailers HTTP/1.1\r\nHost: web\r\nTE: trailers\r\nConnection: te, close\r\n\
             Trailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n";
        let answer = raw(client, &web, request);
        assert!(
            answer.contains(r#""trailers":{"x-sum":["42"]}"#),
            "{answer}"
        );
        assert!(answer.ends_with("x-trailer: sent\r\n\r\n"), "{answer}");
        let h2 = client
            .command("curl")
            .args(["-s", "--http2-prior-knowledge", "-D", "-"])
            .arg(format!("http://{}/?trailers", web.v4))
            .run()
            .expect_ok();
        assert!(h2.contains("x-trailer: sent"), "{h2}");
    }
}

#[test]
fn what_breaks_at_the_application_is_not_mended() {
    let (shop, web) = shop();
    // Nothing listens there.
    let dead = shop
        .mesh
        .new_service("dead")
        .port(80, 9999, "http")
        .of(&[&shop.v1]);
    for client in shop.clients() {
        for h2 in [false, true] {
            let ask = |line: &str| {
                let request = ask(client, &web, line);
                if h2 { request.h2() } else { request }
            };
            // A body that broke off must not look complete.
            let broken = ask("GET /?break").send();
            assert_eq!(broken.status, 200);
            assert!(broken.error.is_some(), "{broken:?}");
            assert!(ask("GET /").send().is_from("v1"));
        }
        let refused = ask(client, &dead, "GET /");
        let refused = refused.until("the service is known", |answer| answer.status != 0);
        assert!(matches!(refused.status, 502 | 503), "{refused:?}");
        assert!(refused.reason().is_some(), "{refused:?}");
        let whole = ask(client, &web, "GET /?bytes=20000000").send();
        assert_eq!(whole.body_bytes, 20_000_000, "{:?}", whole.error);
        assert_eq!(
            outcome(&ask(client, &web, "GET /?status=500").send()),
            "500 of the application"
        );
    }
    // A client that goes away takes its request with it.
    let gone = ask(&shop.far, &web, "GET /?chunks=1000&every=100ms")
        .flags(&["--max-time", "1"])
        .send();
    assert!(gone.error.is_some());
    shop.apps[0].event(|event| event["event"] == "streamed" && event["complete"] == false);
}
