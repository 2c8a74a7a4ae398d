use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header::COOKIE};
use proptest::prelude::*;

use super::{Token, TokenError, backend_of, endpoint_of, needs_write, read, write};
use crate::{
    model::{
        names::ObjectName,
        route::{SessionBy, SessionPersistence},
        service::Endpoint,
    },
    traffic::testing::{headers, weighted},
};

/// Some time in 2025.
const NOW: u64 = 1_750_000_000;

fn by(by: SessionBy) -> SessionPersistence {
    SessionPersistence {
        by,
        name: "weir-session".into(),
        absolute_timeout: None,
        idle_timeout: None,
    }
}

fn cookie() -> SessionPersistence {
    by(SessionBy::Cookie { permanent: false })
}

fn endpoint(address: &str) -> Endpoint {
    let address: IpAddr = address.parse().unwrap();
    Endpoint {
        address,
        port: 8080,
    }
}

fn token(service: &str) -> Token {
    Token::new(
        &ObjectName::new("shop", service),
        80,
        endpoint("10.0.0.1"),
        NOW,
    )
}

/// What a client sends back of what it got.
fn sent_back(got: (HeaderName, HeaderValue)) -> HeaderMap {
    let (name, value) = got;
    let text = value.to_str().unwrap();
    match name.as_str() {
        "set-cookie" => headers(&[("cookie", text.split(';').next().unwrap())]),
        name => headers(&[(name, text)]),
    }
}

#[test]
fn a_token_comes_back_as_it_was_written() {
    for session in [cookie(), by(SessionBy::Header)] {
        let written = write(&session, &token("v1"), NOW + 5, false).unwrap();
        let expected = Token {
            seen_unix: NOW + 5,
            ..token("v1")
        };
        assert_eq!(read(&session, &sent_back(written), NOW + 9), Some(expected));
    }
}

/// Agents of different versions and machines share sessions: these texts may never change.
#[test]
fn tokens_are_the_same_everywhere() {
    let header = by(SessionBy::Header);
    let (name, value) = write(&header, &token("v1"), NOW, false).unwrap();
    assert_eq!(name, "weir-session");
    assert_eq!(value, "220c58d98147df8f.6d32c5f7703aa89b.684ee180.684ee180");
    let mapped = Token::new(
        &ObjectName::new("shop", "v1"),
        80,
        endpoint("::ffff:10.0.0.1"),
        NOW,
    );
    assert_eq!(mapped, token("v1"));
}

#[test]
fn cookies_are_bound_to_the_browser_s_session_unless_permanent() {
    let text = |session: &SessionPersistence, now, secure| {
        let (name, value) = write(session, &token("v1"), now, secure).unwrap();
        assert_eq!(name, "set-cookie");
        let attributes = value.to_str().unwrap().split_once("; ").unwrap().1;
        attributes.to_owned()
    };
    let plain = "Path=/; HttpOnly; SameSite=Strict";
    assert_eq!(text(&cookie(), NOW, false), plain);
    assert_eq!(text(&cookie(), NOW, true), format!("{plain}; Secure"));
    let hour = Some(Duration::from_secs(3600));
    let timed = SessionPersistence {
        absolute_timeout: hour,
        ..cookie()
    };
    assert_eq!(text(&timed, NOW, false), plain);
    let permanent = SessionPersistence {
        absolute_timeout: hour,
        ..by(SessionBy::Cookie { permanent: true })
    };
    assert_eq!(
        text(&permanent, NOW + 600, false),
        format!("{plain}; Max-Age=3000")
    );
}

#[test]
fn cookies_are_found_among_others() {
    let (_, value) = write(&by(SessionBy::Header), &token("v1"), NOW, false).unwrap();
    let text = value.to_str().unwrap();
    let found = |lines: &[&str]| {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("cookie", line.replace("TOKEN", text)))
            .collect();
        let lines: Vec<_> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
        read(&cookie(), &headers(&lines), NOW).is_some()
    };
    assert!(found(&["a=b; weir-session=TOKEN; c=d"]));
    assert!(found(&["a=b;weir-session=\"TOKEN\""]));
    assert!(found(&["a=b", "weir-session=TOKEN"]));
    // One of the app's own with that name, before Weir's.
    assert!(found(&["weir-session=other; weir-session=TOKEN"]));
    // What is no ASCII, or no text at all, is the app's affair.
    assert!(found(&["a=é; weir-session=TOKEN; b=é"]));
    assert!(!found(&["Weir-Session=TOKEN"]));
    assert!(!found(&["xweir-session=TOKEN"]));
    assert!(!found(&["a=weir-session=TOKEN"]));
    assert!(!found(&["weir-session"]));
    assert!(!found(&[]));
}

#[test]
fn sessions_end() {
    let session = SessionPersistence {
        absolute_timeout: Some(Duration::from_secs(100)),
        idle_timeout: Some(Duration::from_secs(10)),
        ..by(SessionBy::Header)
    };
    let alive = |seen, now| {
        let headers = sent_back(write(&session, &token("v1"), seen, false).unwrap());
        read(&session, &headers, now).is_some()
    };
    assert!(alive(NOW, NOW + 10) && !alive(NOW, NOW + 11));
    assert!(alive(NOW + 95, NOW + 99) && !alive(NOW + 95, NOW + 100));
    // Written by an agent whose clock is ahead.
    assert!(alive(NOW + 3, NOW - 60));
}

#[test]
fn tokens_are_written_where_they_tell_something_new() {
    let used = token("v1");
    assert!(needs_write(&cookie(), None, &used, NOW));
    assert!(!needs_write(&cookie(), Some(&used), &used, NOW + 60));
    assert!(needs_write(&cookie(), Some(&token("v2")), &used, NOW));
    let idle = SessionPersistence {
        idle_timeout: Some(Duration::from_secs(60)),
        ..cookie()
    };
    assert!(!needs_write(&idle, Some(&used), &used, NOW));
    assert!(needs_write(&idle, Some(&used), &used, NOW + 1));
}

#[test]
fn a_session_stays_with_its_backend_whatever_the_weights() {
    let v2 = token("v2");
    for weights in [[90, 10], [0, 100], [100, 0]] {
        let rule = weighted(&[("v1", weights[0]), ("v2", weights[1])]);
        assert_eq!(backend_of(&v2, &rule), Some(1));
    }
    assert_eq!(backend_of(&v2, &weighted(&[("v1", 1)])), None);
    let mut refused = weighted(&[("v1", 1), ("v2", 1)]);
    refused.refused[1] = Some("no ReferenceGrant allows it".into());
    assert_eq!(backend_of(&v2, &refused), None);
    let elsewhere = Token::new(&ObjectName::new("shop", "v2"), 81, endpoint("10.0.0.1"), 0);
    assert_eq!(backend_of(&elsewhere, &weighted(&[("v2", 1)])), None);
}

#[test]
fn a_session_moves_when_its_endpoint_is_gone() {
    let (one, two) = (endpoint("10.0.0.1"), endpoint("10.0.0.2"));
    assert_eq!(endpoint_of(&token("v1"), &[two, one]), Some(one));
    assert_eq!(endpoint_of(&token("v1"), &[two]), None);
    let other_port = Endpoint { port: 81, ..one };
    assert_eq!(endpoint_of(&token("v1"), &[other_port]), None);
}

#[test]
fn other_texts_are_no_tokens() {
    for text in [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.",
        "1.2.3.+4",
        "1.2.3.-4",
        "g.2.3.4",
        "1.2.3.10000000000000000",
        " 1.2.3.4",
    ] {
        assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
    }
    let large = "ffffffffffffffff.0.ffffffffffffffff.FFFFFFFFFFFFFFFF";
    assert!(large.parse::<Token>().is_ok());
}

proptest! {
    #[test]
    fn any_cookie_is_read_or_passed_over(
        lines in prop::collection::vec("[a-f0-9.=;\" -]{0,40}|weir-session=[a-f0-9.\"]{0,80}", 0..4),
        now: u64,
    ) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        if let Some(token) = read(&cookie(), &headers, now) {
            let written = write(&cookie(), &token, token.seen_unix, true).unwrap();
            prop_assert_eq!(read(&cookie(), &sent_back(written), now), Some(token));
        }
    }

    #[test]
    fn any_numbers_survive(backend: u64, endpoint: u64, issued_unix: u64, seen_unix: u64) {
        let token = Token { backend, endpoint, issued_unix, seen_unix };
        let session = by(SessionBy::Header);
        let (_, value) = write(&session, &token, seen_unix, false).unwrap();
        prop_assert_eq!(value.to_str().unwrap().parse(), Ok(token));
    }
}
