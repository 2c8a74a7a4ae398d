//! Requests that two parties could read differently: answered with 400, ended, and nothing of them is
//! a second request to the application (RFC 9112 §§2, 5, 6, 7, 11.2).

use weir_tests::{Pod, ServiceHandle};

use super::Shop;

/// What an attacker wants the application to see.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";

/// Everything before the empty line and after; `|` stands for the smuggled request.
const CASES: &[(&str, &str)] = &[
    (
        "a folded line",
        "GET / HTTP/1.1\r\nHost: web\r\nX-A: b\r\n c\r\n\r\n|",
    ),
    (
        "a folded line behind Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "a space before the first field",
        "GET / HTTP/1.1\r\n Host: web\r\nHost: web\r\n\r\n|",
    ),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length : 5\r\n\r\nhello|",
    ),
    (
        "a tab before the colon",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "a bare CR in a value",
        "GET / HTTP/1.1\r\nHost: web\r\nX-A: b\rContent-Length: 5\r\n\r\n|",
    ),
    (
        "a bare CR as the line's end",
        "GET / HTTP/1.1\rHost: web\r\rGET / HTTP/1.1\r\nHost: web\r\n\r\n|",
    ),
    (
        "a name that is none",
        "GET / HTTP/1.1\r\nHost: web\r\nX(A: b\r\n\r\n|",
    ),
    (
        "a line without a colon",
        "GET / HTTP/1.1\r\nHost: web\r\nnonsense\r\n\r\n|",
    ),
    (
        "an empty name",
        "GET / HTTP/1.1\r\nHost: web\r\n: b\r\n\r\n|",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello|",
    ),
    (
        "two lengths in one line",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5, 6\r\n\r\nhello|",
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: +5\r\n\r\nhello|",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: -5\r\n\r\nhello|",
    ),
    (
        "a length in hexadecimal",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 0x5\r\n\r\nhello|",
    ),
    (
        "a length with a space",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5 5\r\n\r\nhello|",
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length:\r\n\r\n|",
    ),
    (
        "a length that overflows",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 18446744073709551621\r\n\r\nhello|",
    ),
    (
        "a length before a coding",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "a coding before a length",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n|",
    ),
    (
        "a coding that is none",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "identity",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: identity\r\n\r\n|",
    ),
    (
        "chunked that is not last",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n|",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "chunked in quotes",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n|",
    ),
    (
        "chunked behind a control character",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "a coding in 1.0",
        "POST / HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n|",
    ),
    (
        "a size that is none",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n|",
    ),
    (
        "a negative size",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n|",
    ),
    (
        "a size with a prefix",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n|",
    ),
    (
        "a size that overflows",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhello\r\n0\r\n\r\n|",
    ),
    (
        "a chunk longer than it says",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n|",
    ),
    (
        "a bare LF in an extension",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nxx\r\n4c\r\n0\r\n\r\n|",
    ),
    (
        "a bare CR behind a size",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n|",
    ),
    (
        "a trailer that is none",
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nnonsense\r\n\r\n|",
    ),
    ("no Host", "GET / HTTP/1.1\r\n\r\n|"),
    (
        "two Hosts",
        "GET / HTTP/1.1\r\nHost: web\r\nHost: other\r\n\r\n|",
    ),
    (
        "the same Host twice",
        "GET / HTTP/1.1\r\nHost: web\r\nHost: web\r\n\r\n|",
    ),
    (
        "a Host with a space",
        "GET / HTTP/1.1\r\nHost: web other\r\n\r\n|",
    ),
    (
        "a Host with a path",
        "GET / HTTP/1.1\r\nHost: web/other\r\n\r\n|",
    ),
    (
        "a Host with a user",
        "GET / HTTP/1.1\r\nHost: user@web\r\n\r\n|",
    ),
    (
        "a target with a space",
        "GET /a b HTTP/1.1\r\nHost: web\r\n\r\n|",
    ),
    ("no target", "GET HTTP/1.1\r\nHost: web\r\n\r\n|"),
    (
        "a version that is none",
        "GET / HTTP/1.1x\r\nHost: web\r\n\r\n|",
    ),
];

/// Cases that a server may also read by the coding.
const LENGTH_AND_CODING: &[&str] = &["a length before a coding", "a coding before a length"];

/// The status of the first answer and its reason; then what follows it.
fn answer_to(client: &Pod, service: &ServiceHandle, case: &str) -> (String, String) {
    let bytes = case.replace('|', SMUGGLED);
    // What is refused is ended at once, not when somebody gives up.
    let patient = ["--patience", "3"];
    let talk = client.talk_with(&patient, service.v4, &[&format!("send:{bytes}"), "drain"]);
    let received = talk.received();
    let status = received.split(' ').nth(1).unwrap_or(talk.error());
    let head = received.split("\r\n\r\n").next().unwrap_or_default();
    let reason = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("x-weir-reason: ")
            .map(str::to_owned)
    });
    let answers = received.matches("HTTP/1.1 ").count();
    let outcome = match answers {
        0 | 1 => status.to_owned(),
        more => format!("{status}, and {more} answers"),
    };
    (outcome, reason.unwrap_or_default())
}

#[test]
fn ambiguous_requests_are_refused_and_nothing_is_smuggled() {
    let shop = Shop::new();
    let web = shop.service("web");
    // Where nothing says HTTP, what is nearly HTTP must not pass as opaque.
    let unsaid = shop
        .mesh
        .new_service("unsaid")
        .named_port("web", 80, 8080)
        .of(&[&shop.v1, &shop.v2]);
    shop.mesh.start_agents();

    let mut wrong = Vec::new();
    for (client, service) in [(&shop.far, &web), (&shop.near, &web), (&shop.far, &unsaid)] {
        for (what, case) in CASES {
            let (outcome, _) = answer_to(client, service, case);
            // Framed anew from the coding alone, and the end of the connection (RFC 9112 §6.3).
            let is_framed_anew = LENGTH_AND_CODING.contains(what) && outcome == "200";
            if outcome != "400" && !is_framed_anew {
                wrong.push(format!(
                    "{what}, {} to {}: {outcome}",
                    client.name(),
                    service.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not answered with 400:\n{}",
        wrong.join("\n")
    );
    for app in &shop.apps {
        let events = app.events();
        let smuggled = events.iter().find(|event| event["path"] == "/smuggled");
        assert!(smuggled.is_none(), "{smuggled:?}");
    }
    // The control: the same request is served when it comes openly.
    let (outcome, _) = answer_to(
        &shop.far,
        &web,
        "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(outcome, "200");
    let refused = [("response_code", "400")];
    let counted = shop
        .mesh
        .agent_of(&shop.far)
        .metric("istio_requests_total", &refused);
    assert!(counted > 0.0, "refusals are counted");
}

#[test]
fn what_is_refused_says_why() {
    let shop = Shop::new();
    let web = shop.service("web");
    shop.mesh.start_agents();
    let mut silent = Vec::new();
    for (what, case) in CASES {
        let (_, reason) = answer_to(&shop.far, &web, case);
        if reason != "bad_request" && !LENGTH_AND_CODING.contains(what) {
            silent.push(format!("{what}: {reason:?}"));
        }
    }
    assert!(
        silent.is_empty(),
        "without x-weir-reason:\n{}",
        silent.join("\n")
    );
}
