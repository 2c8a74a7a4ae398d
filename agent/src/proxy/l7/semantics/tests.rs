use http::Request;

use super::*;

type Build = http::request::Builder;

fn parts(build: impl FnOnce(Build) -> Build) -> Parts {
    let request = build(Request::builder().uri("/a")).body(()).unwrap();
    request.into_parts().0
}

fn refused(build: impl FnOnce(Build) -> Build) -> Reason {
    check(&mut parts(build)).unwrap_err().reason
}

#[test]
fn a_request_has_one_host() {
    assert_eq!(refused(|r| r), Reason::BadRequest);
    let twice = |r: Build| r.header("host", "a").header("host", "a");
    assert_eq!(refused(twice), Reason::BadRequest);
    assert_eq!(refused(|r| r.header("host", "a b")), Reason::BadRequest);
    assert_eq!(refused(|r| r.header("host", "user@a")), Reason::BadRequest);
    let checked = check(&mut parts(|r| r.header("host", "a:80"))).unwrap();
    assert_eq!(checked.authority.unwrap().as_str(), "a:80");
    let absolute = |r: Build| r.uri("http://b/x").header("host", "a");
    let checked = check(&mut parts(absolute)).unwrap();
    assert_eq!(checked.authority.unwrap().as_str(), "b");
}

#[test]
fn authority_and_host_agree_in_http2() {
    let both = |host: &'static str| {
        move |r: Build| {
            r.uri("http://b/x")
                .version(Version::HTTP_2)
                .header("host", host)
        }
    };
    assert!(check(&mut parts(both("B"))).is_ok());
    assert_eq!(refused(both("c")), Reason::BadRequest);
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    let with = |name: &'static str, value: &'static str| {
        move |r: Build| {
            r.header("host", "a")
                .header("transfer-encoding", "chunked")
                .header(name, value)
        }
    };
    assert_eq!(refused(with("content-length", "1")), Reason::BadRequest);
    assert_eq!(
        refused(with("transfer-encoding", "chunked")),
        Reason::BadRequest
    );
    let gzip = |r: Build| {
        r.header("host", "a")
            .header("transfer-encoding", "gzip, chunked")
    };
    assert_eq!(refused(gzip), Reason::BadRequest);
    assert!(check(&mut parts(with("x-other", "1"))).is_ok());
}

#[test]
fn what_is_for_this_hop_goes_no_further() {
    let mut parts = parts(|r| {
        r.header("host", "a")
            .header("connection", "close, X-Mine, host")
            .header("x-mine", "1")
            .header("keep-alive", "timeout=5")
            .header("te", "trailers, deflate")
            .header("x-kept", "1")
    });
    check(&mut parts).unwrap();
    let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["host", "te", "x-kept"]);
    assert_eq!(parts.headers["te"], "trailers");
}

#[test]
fn upgrades_are_told_from_h2c() {
    let upgrade = |to: &'static str| {
        move |r: Build| {
            r.header("host", "a")
                .header("connection", "Upgrade, HTTP2-Settings")
                .header("upgrade", to)
        }
    };
    let becomes = |to| check(&mut parts(upgrade(to))).unwrap().becomes;
    let websocket = HeaderValue::from_static("websocket");
    assert_eq!(becomes("websocket"), Some(Become::Upgrade(websocket)));
    assert_eq!(becomes("h2c"), None);
}

#[test]
fn long_targets_get_414() {
    let long = format!("/{}", "a".repeat(URI_BYTES_MAX));
    assert_eq!(
        refused(|r| r.uri(long).header("host", "a")),
        Reason::UriTooLong
    );
}
