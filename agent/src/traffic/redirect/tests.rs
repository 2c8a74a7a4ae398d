use http::StatusCode;

use super::{Origin, location};
use crate::model::route::{PathModifier, Redirect, Scheme};

const STAYS: Redirect = Redirect {
    scheme: None,
    hostname: None,
    path: None,
    port: None,
    status: StatusCode::FOUND,
};

fn from(scheme: Scheme, authority: &str, port: u16) -> Origin<'_> {
    Origin {
        scheme,
        authority,
        port,
    }
}

fn to(redirect: Redirect, origin: Origin<'_>) -> String {
    location(&redirect, &origin, "/a?q=1", None)
}

/// `HTTPRequestRedirectFilter.port`, in each of its cases.
#[test]
fn ports() {
    use Scheme::{Http, Https};
    for (scheme, port, dialled_scheme, dialled, expected) in [
        // Named.
        (None, Some(8083), Http, 80, "http://echo:8083/a?q=1"),
        (Some(Https), Some(8443), Http, 80, "https://echo:8443/a?q=1"),
        (Some(Http), Some(443), Https, 443, "http://echo:443/a?q=1"),
        // Named, and what the scheme implies.
        (None, Some(80), Http, 8080, "http://echo/a?q=1"),
        (Some(Https), Some(443), Http, 8080, "https://echo/a?q=1"),
        (None, Some(443), Https, 8443, "https://echo/a?q=1"),
        // The named scheme's.
        (Some(Https), None, Http, 8080, "https://echo/a?q=1"),
        (Some(Http), None, Http, 8080, "http://echo/a?q=1"),
        (Some(Http), None, Https, 443, "http://echo/a?q=1"),
        // The one dialled.
        (None, None, Http, 8080, "http://echo:8080/a?q=1"),
        (None, None, Http, 80, "http://echo/a?q=1"),
        (None, None, Https, 443, "https://echo/a?q=1"),
        (None, None, Https, 80, "https://echo:80/a?q=1"),
    ] {
        let redirect = Redirect {
            scheme,
            port,
            ..STAYS
        };
        assert_eq!(
            to(redirect, from(dialled_scheme, "echo", dialled)),
            expected
        );
    }
}

#[test]
fn hosts() {
    for (authority, host) in [
        ("echo", "echo"),
        ("echo:8080", "echo"),
        ("echo.shop.svc:8080", "echo.shop.svc"),
        ("10.0.0.1:80", "10.0.0.1"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("user:word@echo:80", "echo"),
    ] {
        let location = to(STAYS, from(Scheme::Http, authority, 80));
        assert_eq!(location, format!("http://{host}/a?q=1"), "{authority}");
    }
    let named = Redirect {
        hostname: Some("example.org".into()),
        ..STAYS
    };
    assert_eq!(
        to(named.clone(), from(Scheme::Http, "echo:80", 80)),
        "http://example.org/a?q=1"
    );
    assert_eq!(
        to(named, from(Scheme::Http, "", 8080)),
        "http://example.org:8080/a?q=1"
    );
}

#[test]
fn without_any_host_it_is_relative() {
    let nameless = from(Scheme::Http, "", 80);
    assert_eq!(to(STAYS, nameless), "/a?q=1");
    assert_eq!(
        location(&STAYS, &nameless, "//evil.example/x", None),
        "/evil.example/x"
    );
}

#[test]
fn paths() {
    let full = Redirect {
        path: Some(PathModifier::Full("/new".into())),
        ..STAYS
    };
    let prefix = Redirect {
        path: Some(PathModifier::Prefix("/new".into())),
        ..STAYS
    };
    let origin = from(Scheme::Http, "echo", 80);
    let with = |redirect, path| location(redirect, &origin, path, Some("/old"));
    assert_eq!(with(&full, "/old/a?b=c"), "http://echo/new?b=c");
    assert_eq!(with(&prefix, "/old/a?b=c"), "http://echo/new/a?b=c");
    assert_eq!(with(&prefix, "/old"), "http://echo/new");
    assert_eq!(with(&STAYS, "/%61/../b"), "http://echo/%61/../b");
    assert_eq!(with(&STAYS, "*"), "http://echo/");
    assert_eq!(with(&STAYS, "?q"), "http://echo/?q");
}
