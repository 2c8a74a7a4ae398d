use http::{HeaderMap, HeaderValue, Method};

use super::{preflight, response};
use crate::{
    model::route::{Cors, Origin},
    traffic::testing::{headers, request},
};

const FOO: &str = "https://www.foo.com";

fn names(names: &[&str]) -> Vec<std::sync::Arc<str>> {
    names.iter().copied().map(Into::into).collect()
}

fn exactly(origin: &str) -> Vec<Origin> {
    vec![Origin::Exact(origin.into())]
}

fn wildcard(before: &str, after: &str) -> Origin {
    Origin::Wildcard {
        before: before.into(),
        after: after.into(),
    }
}

fn ask(cors: &Cors, lines: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    let headers = headers(lines);
    preflight(cors, &request(&Method::OPTIONS, "/", None, &headers)).map(sorted)
}

fn sorted(headers: HeaderMap) -> Vec<(String, String)> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    lines
}

fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    sorted(headers(lines))
}

fn respond(cors: &Cors, origin: Option<&str>, app: &[(&str, &str)]) -> Vec<(String, String)> {
    let origin = origin.map(|origin| HeaderValue::from_str(origin).unwrap());
    let mut headers = headers(app);
    response(cors, origin.as_ref(), &mut headers);
    sorted(headers)
}

/// The conformance suite's `cors-1`.
#[test]
fn a_preflight_gets_what_the_filter_lists() {
    let cors = Cors {
        allow_origins: exactly(FOO),
        allow_credentials: true,
        allow_methods: names(&["GET", "OPTIONS"]),
        allow_headers: names(&["x-header-1", "x-header-2"]),
        expose_headers: names(&["x-header-3", "x-header-4"]),
        max_age: Some(3600),
    };
    let asked = [
        ("origin", FOO),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-header-1, x-header-2"),
    ];
    assert_eq!(
        ask(&cors, &asked),
        Some(lines(&[
            ("access-control-allow-origin", FOO),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, OPTIONS"),
            ("access-control-allow-headers", "x-header-1, x-header-2"),
            ("access-control-expose-headers", "x-header-3, x-header-4"),
            ("access-control-max-age", "3600"),
            ("vary", "origin"),
        ]))
    );
    let of_another = [
        ("origin", "https://foobar.com"),
        ("access-control-request-method", "GET"),
    ];
    assert_eq!(ask(&cors, &of_another), Some(lines(&[("vary", "origin")])));
}

#[test]
fn what_is_no_preflight_goes_to_the_app() {
    let cors = Cors {
        allow_origins: vec![Origin::Any],
        ..Cors::default()
    };
    assert_eq!(ask(&cors, &[("origin", FOO)]), None);
    assert_eq!(
        ask(&cors, &[("access-control-request-method", "GET")]),
        None
    );
    let asked = headers(&[("origin", FOO), ("access-control-request-method", "GET")]);
    assert!(preflight(&cors, &request(&Method::GET, "/", None, &asked)).is_none());
    assert!(preflight(&cors, &request(&Method::OPTIONS, "/", None, &asked)).is_some());
}

#[test]
fn stars_stay_without_credentials_and_are_spelt_out_with_them() {
    let star = || names(&["*"]);
    let mut cors = Cors {
        allow_origins: vec![Origin::Any],
        allow_credentials: false,
        allow_methods: star(),
        allow_headers: star(),
        expose_headers: star(),
        max_age: None,
    };
    let asked = [
        ("origin", FOO),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-a,x-b"),
    ];
    assert_eq!(
        ask(&cors, &asked),
        Some(lines(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "*"),
            ("access-control-allow-headers", "*"),
            ("access-control-expose-headers", "*"),
            ("access-control-max-age", "5"),
        ]))
    );
    assert_eq!(
        respond(&cors, Some(FOO), &[("x-c", "1")]),
        lines(&[
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "*"),
            ("x-c", "1"),
        ])
    );
    cors.allow_credentials = true;
    assert_eq!(
        ask(&cors, &asked),
        Some(lines(&[
            ("access-control-allow-origin", FOO),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "x-a,x-b"),
            ("access-control-max-age", "5"),
            ("vary", "origin"),
        ]))
    );
    assert_eq!(
        respond(&cors, Some(FOO), &[("set-cookie", "a=b")]),
        lines(&[
            ("access-control-allow-origin", FOO),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "vary"),
            ("set-cookie", "a=b"),
            ("vary", "origin"),
        ])
    );
}

#[test]
fn the_filter_has_the_last_word_on_a_response() {
    let cors = Cors {
        allow_origins: exactly(FOO),
        expose_headers: names(&["x-a"]),
        ..Cors::default()
    };
    let app = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-b"),
        ("vary", "accept, Origin"),
    ];
    assert_eq!(
        respond(&cors, Some(FOO), &app),
        lines(&[
            ("access-control-allow-origin", FOO),
            ("access-control-expose-headers", "x-a"),
            ("vary", "accept, Origin"),
        ])
    );
    assert_eq!(
        respond(&cors, Some("https://evil.example"), &app),
        lines(&[("vary", "accept, Origin")])
    );
    assert_eq!(respond(&cors, None, &app), lines(&app));
}

#[test]
fn caches_are_told_that_the_origin_counts() {
    let cors = Cors {
        allow_origins: exactly(FOO),
        ..Cors::default()
    };
    let vary = |app| {
        let lines = respond(&cors, None, app);
        lines
            .into_iter()
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
    };
    assert_eq!(vary(&[]), ["origin"]);
    assert_eq!(vary(&[("vary", "accept")]), ["accept", "origin"]);
    assert_eq!(vary(&[("vary", "ORIGIN")]), ["ORIGIN"]);
    assert_eq!(vary(&[("vary", "*")]), ["*"]);
    let any = Cors {
        allow_origins: vec![Origin::Any],
        ..Cors::default()
    };
    assert_eq!(respond(&any, None, &[]), lines(&[]));
}

#[test]
fn origins() {
    let allows = |allowed: Origin, origin: &str| {
        let cors = Cors {
            allow_origins: vec![Origin::Exact("https://other".into()), allowed],
            ..Cors::default()
        };
        let lines = respond(&cors, Some(origin), &[]);
        lines.contains(&("access-control-allow-origin".into(), origin.into()))
    };
    let exact = || Origin::Exact("https://A.example".into());
    assert!(allows(exact(), "https://a.example"));
    for origin in [
        "http://a.example",
        "https://a.example:8443",
        "https://a.example.evil",
        "null",
    ] {
        assert!(!allows(exact(), origin), "{origin}");
    }
    let below = || wildcard("https://", ".bar.com");
    for origin in [
        "https://www.bar.com",
        "https://xpto.www.bar.com",
        "HTTPS://www.BAR.com",
    ] {
        assert!(allows(below(), origin), "{origin}");
    }
    for origin in [
        "https://bar.com",
        "https://.bar.com",
        "https://a..bar.com",
        "http://www.bar.com",
        "https://www.bar.com:8443",
        "https://evil.com/.bar.com",
        "https://evil.com:1.bar.com",
        "https://user@.bar.com",
        "https://wwwébar.com",
        "h",
    ] {
        assert!(!allows(below(), origin), "{origin}");
    }
    let host = || wildcard("https://", "");
    assert!(allows(host(), "https://any.example") && allows(host(), "https://localhost"));
    assert!(!allows(host(), "https://") && !allows(host(), "https://any:1"));
    assert!(allows(wildcard("http://", ":81"), "http://any:81"));
}
