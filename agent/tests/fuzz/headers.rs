//! Headers that Weir reads and writes itself: no value makes it panic, and what it wrote it reads
//! again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bolero::TypeGenerator;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use weir::{
    model::route::{Cors, Origin, SessionBy, SessionPersistence},
    telemetry::trace,
    traffic::{
        affinity::{self, Token},
        cors,
        request::RequestView,
    },
    transport::hbone::forwarded::Forwarded,
};

use crate::input::{self, Piece, pick, spell};

/// `None`: no server would read it as a header's value.
fn value(words: &[&str], pieces: &[Piece]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&spell(words, pieces)).ok()
}

const COOKIES: &[&str] = &[
    "sid", "=", ";", "; ", "\"", "a=b", "ffff", ".", "0.0.0.0", "é", " ",
];

#[derive(Clone, Debug, TypeGenerator)]
struct Session {
    backend: u64,
    endpoint: u64,
    issued_unix: u64,
    now_unix: u64,
    cookie: bool,
    permanent: bool,
    secure: bool,
    beside: Vec<Piece>,
}

#[test]
fn a_session_that_was_written_is_read() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Session>()
        .for_each(|case| {
            let permanent = case.permanent;
            let session = SessionPersistence {
                by: match case.cookie {
                    true => SessionBy::Cookie { permanent },
                    false => SessionBy::Header,
                },
                name: "x-session".into(),
                absolute_timeout: None,
                idle_timeout: None,
            };
            let token = Token {
                backend: case.backend,
                endpoint: case.endpoint,
                issued_unix: case.issued_unix,
                seen_unix: case.now_unix,
            };
            let (name, written) =
                affinity::write(&session, &token, case.now_unix, case.secure).unwrap();
            let mut headers = HeaderMap::new();
            if case.cookie {
                assert_eq!(name, header::SET_COOKIE);
                let own = written.to_str().unwrap().split(';').next().unwrap();
                let beside = spell(COOKIES, &case.beside);
                let line = [&*beside, b"; ", own.as_bytes(), b"; ", &*beside].concat();
                let Ok(line) = HeaderValue::from_bytes(&line) else {
                    return;
                };
                headers.insert(header::COOKIE, line);
            } else {
                headers.insert(name, written);
            }
            assert_eq!(
                affinity::read(&session, &headers, case.now_unix),
                Some(token)
            );
        });
}

#[test]
fn a_session_that_was_made_up_is_no_panic() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<(Vec<Piece>, bool, u64)>()
        .for_each(|(pieces, cookie, now_unix)| {
            let Some(value) = value(COOKIES, pieces) else {
                return;
            };
            let (by, name) = match cookie {
                true => (SessionBy::Cookie { permanent: true }, header::COOKIE),
                false => (SessionBy::Header, HeaderName::from_static("sid")),
            };
            let session = SessionPersistence {
                by,
                name: "sid".into(),
                absolute_timeout: Some(std::time::Duration::from_secs(3600)),
                idle_timeout: Some(std::time::Duration::MAX),
            };
            let headers = HeaderMap::from_iter([(name, value)]);
            if let Some(token) = affinity::read(&session, &headers, *now_unix) {
                assert!(affinity::write(&session, &token, *now_unix, true).is_some());
            }
        });
}

const ORIGINS: &[&str] = &[
    "https://",
    "http://",
    "shop.example",
    ".shop.example",
    "a",
    ".",
    "-",
    ":8443",
    "null",
    "*",
    "é",
    "@",
];

#[derive(Clone, Debug, TypeGenerator)]
struct Browser {
    method: u8,
    origin: Vec<Piece>,
    asks_method: Option<Vec<Piece>>,
    asks_headers: Option<Vec<Piece>>,
    credentials: bool,
    any: bool,
}

#[test]
fn an_origin_is_allowed_only_by_its_name() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Browser>()
        .for_each(|case| {
            let mut allow_origins = vec![
                Origin::Exact("https://shop.example".into()),
                Origin::Wildcard {
                    before: "https://".into(),
                    after: ".shop.example".into(),
                },
            ];
            allow_origins.extend(case.any.then_some(Origin::Any));
            let cors = Cors {
                allow_origins,
                allow_credentials: case.credentials,
                allow_methods: vec!["*".into()],
                allow_headers: vec!["x-a".into(), "x-b".into()],
                ..Cors::default()
            };
            let Some(origin) = value(ORIGINS, &case.origin) else {
                return;
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.clone());
            for (name, asked) in [
                (header::ACCESS_CONTROL_REQUEST_METHOD, &case.asks_method),
                (header::ACCESS_CONTROL_REQUEST_HEADERS, &case.asks_headers),
            ] {
                let asked = asked.as_ref().and_then(|asked| value(ORIGINS, asked));
                headers.extend(asked.map(|value| (name, value)));
            }
            let request = RequestView {
                path: "/",
                query: None,
                method: pick(&[Method::OPTIONS, Method::GET], case.method),
                headers: &headers,
                grpc: false,
            };
            let mut answer = HeaderMap::new();
            cors::response(&cors, Some(&origin), &mut answer);
            let preflight = cors::preflight(&cors, &request);
            for answer in [Some(answer), preflight].into_iter().flatten() {
                let allowed = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                let expected = case.any || is_of_shop(&origin);
                assert_eq!(allowed.is_some(), expected, "{origin:?}: {answer:?}");
                if case.credentials {
                    // Nobody may read with the user's cookies who was not named.
                    assert!(allowed.is_none_or(|allowed| allowed == origin));
                }
            }
        });
}

/// `https://shop.example`, or labels before it: told otherwise than the filter does.
fn is_of_shop(origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else {
        return false;
    };
    let Some(host) = origin.strip_prefix("https://") else {
        return false;
    };
    let mut labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(plain)
    };
    labels.iter().all(is_label) && labels.split_off(labels.len().max(2) - 2) == ["shop", "example"]
}

const TRACES: &[&str] = &[
    "00",
    "-",
    "01",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    "0",
    "1",
    "d",
    "true",
    "A3CE929D0E0E4736",
    "ff",
    "é",
    "é-",
];

const TRACE_HEADERS: &[&str] = &[
    "traceparent",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// Values as their standards have them, or others.
#[derive(Clone, Debug, TypeGenerator)]
enum Field {
    TraceParent {
        version: u8,
        trace: u128,
        span: u64,
        flags: u8,
    },
    B3 {
        trace: u64,
        span: u64,
        state: u8,
    },
    B3Ids {
        trace: u128,
        span: u64,
    },
    Any(u8, Vec<Piece>),
}

impl Field {
    fn add(&self, headers: &mut HeaderMap) {
        let mut put = |name, text: String| {
            headers.append(HeaderName::from_static(name), text.try_into().unwrap());
        };
        match self {
            Self::TraceParent {
                version,
                trace,
                span,
                flags,
            } => put(
                "traceparent",
                format!("{version:02x}-{trace:032x}-{span:016x}-{flags:02x}"),
            ),
            Self::B3 { trace, span, state } => put(
                "b3",
                format!(
                    "{trace:016x}-{span:016x}{}",
                    pick(&["", "-0", "-1", "-d"], *state)
                ),
            ),
            Self::B3Ids { trace, span } => {
                put("x-b3-traceid", format!("{trace:032x}"));
                put("x-b3-spanid", format!("{span:016x}"));
            }
            Self::Any(name, pieces) => {
                let name = HeaderName::from_static(pick::<&str>(TRACE_HEADERS, *name));
                headers.extend(value(TRACES, pieces).map(|value| (name, value)));
            }
        }
    }
}

#[test]
fn a_trace_goes_on_as_it_came() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<(Vec<Field>, u64)>()
        .for_each(|(fields, random)| {
            let mut headers = HeaderMap::new();
            for field in fields.iter().take(4) {
                field.add(&mut headers);
            }
            let Some(context) = trace::extract(&headers) else {
                return;
            };
            let child = context.child(|| *random);
            child.inject(&mut headers);
            let read = trace::extract(&headers).unwrap();
            assert_eq!(read.trace_id, context.trace_id);
            assert_eq!(read.span_id, child.span_id);
            assert_eq!(
                read.sampled.unwrap_or(false),
                child.sampled.unwrap_or(false)
            );
        });
}

const FORWARDED: &[&str] = &[
    "for=",
    "host=",
    "For=\"",
    "\"",
    ";",
    ",",
    "10.0.0.1:80",
    "[::1]:80",
    "a.b",
    "=",
    " ",
    "é",
];

#[test]
fn who_was_forwarded_for_is_read_again() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<(u128, u16, bool, Option<u16>, Vec<Piece>)>()
        .for_each(|(ip, port, ipv4, host, pieces)| {
            if let Some(value) = value(FORWARDED, pieces) {
                let _ = Forwarded::read(&value);
            }
            let ip: IpAddr = match ipv4 {
                true => Ipv4Addr::from_bits(*ip as u32).into(),
                false => Ipv6Addr::from_bits(*ip).into(),
            };
            let forwarded = Forwarded {
                client: Some(SocketAddr::new(ip, *port)),
                host: host.map(|number| format!("web-{number}.shop.svc.cluster.local").into()),
            };
            assert_eq!(Forwarded::read(&forwarded.write().unwrap()), forwarded);
        });
}
