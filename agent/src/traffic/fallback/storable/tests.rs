use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::{Storable, VARY_MAX, of};
use crate::traffic::testing::headers;

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110 §5.6.7.
const NOW: u64 = 784_111_777;

fn get(request: &[(&str, &str)], answer: &[(&str, &str)]) -> Option<Storable> {
    let (request, answer) = (headers(request), headers(answer));
    of(&Method::GET, &request, StatusCode::OK, &answer, NOW)
}

fn control(directives: &str) -> Option<Storable> {
    get(&[], &[("cache-control", directives)])
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn plain() -> Storable {
    Storable {
        age: Duration::ZERO,
        fresh_for: Duration::ZERO,
        stale_if_error: None,
        vary: Vec::new(),
        public: false,
    }
}

#[test]
fn an_answer_that_says_nothing_is_kept_and_stale() {
    assert_eq!(get(&[], &[]), Some(plain()));
}

#[test]
fn good_ones_alone() {
    let kept = |method: Method, status: u16, lines: &[(&str, &str)]| {
        let status = StatusCode::from_u16(status).unwrap();
        of(&method, &headers(&[]), status, &headers(lines), NOW).is_some()
    };
    let fresh = [("cache-control", "max-age=60")];
    for status in [200, 203, 204, 300, 301, 308] {
        assert!(kept(Method::GET, status, &[]) && kept(Method::HEAD, status, &fresh));
    }
    for status in [302, 303, 307] {
        assert!(!kept(Method::GET, status, &[]) && kept(Method::GET, status, &fresh));
    }
    for status in [100, 201, 206, 304, 404, 410, 429, 500, 503] {
        assert!(!kept(Method::GET, status, &fresh), "{status}");
    }
    for method in [Method::POST, Method::PUT, Method::OPTIONS] {
        assert!(!kept(method, 200, &fresh));
    }
}

#[test]
fn directives_forbid() {
    for directives in [
        "no-store",
        "no-cache",
        "private",
        "no-store, public, max-age=60",
        "private, max-age=60",
        "must-revalidate",
        "proxy-revalidate, max-age=0",
        "s-maxage=0",
    ] {
        assert_eq!(control(directives), None, "{directives}");
    }
    assert_eq!(get(&[("cache-control", "no-store")], &[]), None);
    assert_eq!(get(&[("cache-control", "no-cache")], &[]), Some(plain()));
}

#[test]
fn must_revalidate_is_served_while_fresh_alone() {
    for directives in [
        "must-revalidate, max-age=60, stale-if-error=9",
        "s-maxage=60",
    ] {
        let stored = control(directives).unwrap();
        assert_eq!(stored.fresh_for, secs(60));
        assert_eq!(stored.stale_if_error, Some(Duration::ZERO));
    }
    let control = ("cache-control", "must-revalidate, max-age=60");
    assert!(get(&[], &[control, ("age", "59")]).is_some());
    assert!(get(&[], &[control, ("age", "60")]).is_none());
}

#[test]
fn credentials_forbid_unless_public() {
    let public = ("cache-control", "public, max-age=60");
    let expected = Storable {
        fresh_for: secs(60),
        public: true,
        ..plain()
    };
    let requests = [("authorization", "Basic eA=="), ("cookie", "a=b")];
    for request in requests {
        assert_eq!(get(&[request], &[]), None);
        assert_eq!(get(&[request], &[("cache-control", "max-age=60")]), None);
        assert_eq!(get(&[request], &[("cache-control", "s-maxage=60")]), None);
        assert_eq!(get(&[request], &[public]), Some(expected.clone()));
    }
    assert_eq!(get(&[], &[("set-cookie", "a=b")]), None);
    assert_eq!(get(&[], &[("set-cookie", "a=b"), public]), Some(expected));
}

#[test]
fn how_long_it_is_fresh() {
    let at = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let hour_later = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
    let fresh = |lines: &[(&str, &str)]| get(&[], lines).unwrap().fresh_for;
    assert_eq!(fresh(&[at, hour_later]), secs(3600));
    assert_eq!(fresh(&[hour_later]), secs(3600));
    assert_eq!(
        fresh(&[at, hour_later, ("cache-control", "max-age=5")]),
        secs(5)
    );
    assert_eq!(fresh(&[at, ("expires", "0")]), Duration::ZERO);
    let before = ("expires", "Sun, 06 Nov 1994 08:00:00 GMT");
    assert_eq!(fresh(&[at, before]), Duration::ZERO);
    // The origin's clock is an hour behind: its own two dates count.
    let behind = ("date", "Sun, 06 Nov 1994 07:49:37 GMT");
    assert_eq!(fresh(&[behind, hour_later]), secs(7200));
}

#[test]
fn how_old_it_is() {
    let age = |lines: &[(&str, &str)]| get(&[], lines).unwrap().age;
    let minute_ago = ("date", "Sun, 06 Nov 1994 08:48:37 GMT");
    assert_eq!(age(&[minute_ago]), secs(60));
    assert_eq!(age(&[minute_ago, ("age", "70")]), secs(70));
    assert_eq!(age(&[minute_ago, ("age", "50")]), secs(60));
    assert_eq!(age(&[("age", "-5")]), Duration::ZERO);
    assert_eq!(age(&[("date", "tomorrow")]), Duration::ZERO);
    assert_eq!(
        age(&[("date", "Sun, 06 Nov 1994 10:00:00 GMT")]),
        Duration::ZERO
    );
}

#[test]
fn vary_is_a_set_of_names() {
    let vary = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
        Some(get(&[], &lines)?.vary)
    };
    assert_eq!(
        vary(&["Accept-Language, origin", "ORIGIN,,"]).unwrap(),
        ["accept-language", "origin"]
    );
    assert_eq!(vary(&["*"]), None);
    assert_eq!(vary(&["origin, *"]), None);
    assert_eq!(vary(&["é"]), None);
    assert_eq!(vary(&["a b"]), None);
    let many: Vec<_> = (0..=VARY_MAX).map(|n| format!("x-{n}")).collect();
    assert_eq!(vary(&[&many.join(",")]), None);
    assert!(vary(&[&many[1..].join(",")]).is_some());
}

#[test]
fn its_own_limit() {
    let stored = control("max-age=60, stale-if-error=30").unwrap();
    assert_eq!(
        (stored.fresh_for, stored.stale_if_error),
        (secs(60), Some(secs(30)))
    );
}

proptest! {
    #[test]
    fn nothing_that_is_sent_panics(
        control in "[ -~é]{0,40}", age in "[ -~]{0,30}", date in "[ -~]{0,40}", now: u64,
    ) {
        let answer = headers(&[
            ("cache-control", &control), ("age", &age), ("date", &date), ("expires", &date),
        ]);
        of(&Method::GET, &headers(&[]), StatusCode::OK, &answer, now);
    }
}
