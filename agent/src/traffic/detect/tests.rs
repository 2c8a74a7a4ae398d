use proptest::prelude::*;

use super::{Detected, REQUEST_LINE_BYTES_MAX, detect};

#[test]
fn http1_by_its_request_line() {
    for text in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\n",
        // The version is enough, and what follows does not matter.
        "GET / HTTP/1.1",
        "POST /a/b?c=d%20e HTTP/1.1\r\nHost: x\r\n\r\nbody",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n",
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\n",
        "GET http://example.org/ HTTP/1.1\r\n",
        "GET HTTPS://example.org/ HTTP/1.1\r\n",
        "BASELINE-CONTROL /x HTTP/1.1\r\n",
    ] {
        assert_eq!(detect(text.as_bytes()), Detected::Http1, "{text}");
    }
}

/// It must not slip past the server, which answers it with 400 or 505.
#[test]
fn http1_that_is_malformed_is_http1() {
    for text in [
        "GET  /a HTTP/1.1\r\n",
        "GET\t/a HTTP/1.1\r\n",
        "GET /a b HTTP/1.1\r\n",
        "GET /a HTTP/1.1 \r\n",
        "GET /a HTTP/1.1\rHost: x\r\n",
        "GET /a HTTP/1.2\r\n",
        "GET /a HTTP/2.0\r\n",
        "GET /a\0 HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX",
    ] {
        assert_eq!(detect(text.as_bytes()), Detected::Http1, "{text:?}");
    }
}

#[test]
fn http2_by_its_preface() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(detect(preface), Detected::Http2);
    assert_eq!(
        detect(&[&preface[..], b"\0\0\0\x04"].concat()),
        Detected::Http2
    );
    for length in 0..preface.len() {
        assert_eq!(detect(&preface[..length]), Detected::NeedMore, "{length}");
    }
}

#[test]
fn tls_by_the_head_of_its_hello() {
    for minor in 0..=4 {
        let hello = [0x16, 3, minor, 2, 0, 1, 0, 1, 0xfc];
        assert_eq!(detect(&hello), Detected::Tls);
        for length in 0..6 {
            assert_eq!(detect(&hello[..length]), Detected::NeedMore, "{length}");
        }
    }
    for bytes in [
        &[0x16, 2][..],
        &[0x16, 3, 5],
        &[0x16, 3, 1, 0, 0, 1],
        &[0x16, 3, 1, 0x40, 1, 1],
        // A ServerHello, an alert, SSL 2.0.
        &[0x16, 3, 3, 0, 80, 2],
        &[0x15, 3, 3, 0, 2, 2],
        &[0x80, 0x2e, 1, 0, 2],
    ] {
        assert_eq!(detect(bytes), Detected::Opaque, "{bytes:x?}");
    }
}

/// What clients of other protocols say first.
#[test]
fn everything_else_is_opaque() {
    for (protocol, bytes) in [
        ("redis", &b"*1\r\n$4\r\nPING\r\n"[..]),
        ("redis, inline", b"PING\r\n"),
        ("redis, inline", b"SET key value\r\n"),
        ("redis, inline", b"SET /key value\r\n"),
        ("memcached", b"get key\r\n"),
        ("memcached", b"set key 0 0 5\r\nvalue\r\n"),
        ("memcached, binary", b"\x80\x00\x00\x03"),
        ("SMTP", b"EHLO example.org\r\n"),
        ("SMTP", b"MAIL FROM:<a@example.org>\r\n"),
        ("FTP", b"USER anonymous\r\n"),
        ("FTP", b"CWD /pub\r\n"),
        ("IMAP", b"a1 LOGIN user word\r\n"),
        ("NATS", b"CONNECT {\"verbose\":false}\r\nPING\r\n"),
        ("NATS", b"SUB * 1\r\n"),
        ("STOMP", b"CONNECT\naccept-version:1.2\n\n\0"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("SIP", b"INVITE sip:a@example.org SIP/2.0\r\n"),
        ("RTSP", b"OPTIONS * RTSP/1.0\r\n"),
        ("ICAP", b"REQMOD icap://example.org/ ICAP/1.0\r\n"),
        ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
        ("PostgreSQL", b"\x00\x00\x00\x29\x00\x03\x00\x00user\0"),
        ("MySQL", b"\xb5\x00\x00\x01\x85\xa6\xff\x01"),
        ("MySQL", b"A\x00\x00\x01\x85\xa6\xff\x01"),
        ("MongoDB", b"\x3a\x00\x00\x00\x01\x00\x00\x00"),
        ("MongoDB", b"A\x00\x00\x00\x01\x00\x00\x00"),
        ("Kafka", b"\x00\x00\x00\x2b\x00\x12\x00\x03"),
        ("AMQP", b"AMQP\x00\x00\x09\x01"),
        ("MQTT", b"\x10\x12\x00\x04MQTT"),
        ("Cassandra", b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"),
        ("ZooKeeper", b"\x00\x00\x00\x2d\x00\x00\x00\x00"),
        ("XMPP", b"<?xml version='1.0'?>"),
        ("HTTP/0.9", b"GET /\r\n"),
        ("a response", b"HTTP/1.1 200 OK\r\n"),
        ("text", "été /".as_bytes()),
        // Nobody waits for these to become requests.
        ("text", b"hello"),
        ("text", b"HELLO"),
        ("text", b"GETTING"),
        ("text", b"\r\n"),
        ("a method of one's own", b"FETCH / HTTP/1.1\r\n"),
        ("a method in lower case", b"get / HTTP/1.1\r\n"),
    ] {
        assert_eq!(detect(bytes), Detected::Opaque, "{protocol}");
    }
}

#[test]
fn more_is_needed_as_long_as_it_can_become_http() {
    for text in [
        "",
        "G",
        "GET",
        "GET ",
        "GET  ",
        "GET /",
        "GET /a HTTP/",
        "GET /a HTTP",
        "GET h",
        "GET htt",
        "GET http:/",
        "CONNECT ",
        "CONNECT x",
    ] {
        assert_eq!(detect(text.as_bytes()), Detected::NeedMore, "{text:?}");
    }
}

#[test]
fn bounds() {
    let long = |length: usize| format!("GET /{}", "a".repeat(length - 5));
    let at = |length: usize| detect(long(length).as_bytes());
    assert_eq!(at(REQUEST_LINE_BYTES_MAX - 1), Detected::NeedMore);
    assert_eq!(at(REQUEST_LINE_BYTES_MAX), Detected::Http1);
    let ended = format!("{}\r\n", long(REQUEST_LINE_BYTES_MAX));
    assert_eq!(detect(ended.as_bytes()), Detected::Http1);

    let blank = format!("GET{}", " ".repeat(REQUEST_LINE_BYTES_MAX));
    assert_eq!(detect(blank.as_bytes()), Detected::Opaque);
}

/// Beginnings that are nearly something, and any bytes.
fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"GET"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT",
        b" ",
        b"\t",
        b"/",
        b"*",
        b"\r",
        b"\n",
        b"http://",
        b"HTTP/",
        b"1.1",
        b"\x16",
        b"\x03",
        b"\x01",
        b"\x00",
        b"a",
        b"\xff",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_verdict_is_final(bytes in beginnings()) {
        let mut verdict = Detected::NeedMore;
        for length in 0..=bytes.len() {
            let now = detect(&bytes[..length]);
            prop_assert!(verdict == Detected::NeedMore || verdict == now, "{length}");
            verdict = now;
        }
    }

    /// What no longer begins as HTTP is not waited for.
    #[test]
    fn a_whole_line_decides(line in "[ -~]{24,80}") {
        let verdict = detect(format!("{line}\r\n").as_bytes());
        prop_assert_ne!(verdict, Detected::NeedMore);
    }
}
