use super::read;

fn told(line: &str) -> String {
    read(line.as_bytes()).unwrap().to_string()
}

#[test]
fn a_request_is_one_line() {
    let line = r#"{"time":"2026-01-01T00:00:00Z","reporter":"source","reason":"no_healthy_endpoint",
        "source_address":"10.9.0.2:4711","source_pod":"cart-1","source_namespace":"shop",
        "destination_address":"10.96.0.10:80","method":"GET","authority":"web","path":"/a",
        "response_code":503,"duration_ms":0.25,"bytes_received":1,"bytes_sent":2,
        "route":"HTTPRoute/shop/web","rule":"0","backend":"shop/web:80","detail":"nobody is there"}"#;
    assert_eq!(
        told(line),
        "2026-01-01T00:00:00Z shop/cart-1 -> 10.96.0.10:80 GET web/a 503 0.25 ms, 1 B in, 2 B out, \
         no_healthy_endpoint, HTTPRoute/shop/web rule 0 to shop/web:80: nobody is there (source)"
    );
}

#[test]
fn what_clients_send_moves_no_cursor() {
    let text = told(r#"{"path":"/\u001b[2J\n"}"#);
    assert!(text.contains(r"/\u{1b}[2J\n"), "{text}");
    assert!(!text.chars().any(char::is_control), "{text}");
}

#[test]
fn losses_are_told_and_are_no_requests() {
    let told = read(br#"{"lost":7}"#).unwrap();
    assert!(!told.is_request());
    assert_eq!(
        told.to_string(),
        "(7 requests were lost: they came too fast)"
    );
    assert!(read(b"no json").is_err());
}
