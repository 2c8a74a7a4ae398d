use std::time::Duration;

use super::{CacheControl, SECONDS_MAX};
use crate::traffic::testing::headers;

fn of(lines: &[&str]) -> CacheControl {
    let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
    CacheControl::of(&headers(&lines))
}

const NOTHING: CacheControl = CacheControl {
    no_store: false,
    no_cache: false,
    private: false,
    public: false,
    must_revalidate: false,
    max_age: None,
    s_maxage: None,
    stale_if_error: None,
    min_fresh: None,
    max_stale: None,
};

fn secs(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

#[test]
fn directives_are_read_from_all_lines() {
    assert_eq!(of(&[]), NOTHING);
    assert_eq!(of(&["", "immutable, ,x=1"]), NOTHING);
    let read = of(&["Public ,max-age=60", "stale-if-error=\"30\", s-maxage = 7"]);
    let wanted = CacheControl {
        public: true,
        max_age: secs(60),
        stale_if_error: secs(30),
        s_maxage: secs(7),
        ..NOTHING
    };
    assert_eq!(read, wanted);
    for line in ["must-revalidate", "proxy-revalidate"] {
        assert!(of(&[line]).must_revalidate);
    }
    assert!(of(&["private=\"set-cookie, x\", no-cache=\"y\""]).private);
    assert!(of(&["no-store"]).no_store && of(&["no-cache"]).no_cache);
}

#[test]
fn quoted_text_says_nothing() {
    assert_eq!(
        of(&[r#"ext="a, public, \", no-store", max-age=5"#]).max_age,
        secs(5)
    );
    assert!(!of(&[r#"ext="a, public""#]).public);
    assert!(!of(&[r#"ext="a\", public""#]).public);
    assert!(of(&[r#"ext="a\\", public"#]).public);
}

#[test]
fn numbers_that_are_none_are_zero() {
    for line in [
        "max-age",
        "max-age=",
        "max-age=x",
        "max-age=-1",
        "max-age=+1",
    ] {
        assert_eq!(of(&[line]).max_age, secs(0), "{line}");
    }
    assert_eq!(of(&["max-age=9, max-age=5, max-age=7"]).max_age, secs(5));
    let many = of(&["max-age=99999999999999999999999"]);
    assert_eq!(many.max_age, secs(SECONDS_MAX));
    assert_eq!(of(&["max-stale"]).max_stale, secs(SECONDS_MAX));
    assert_eq!(of(&["max-stale=5"]).max_stale, secs(5));
}

#[test]
fn what_is_no_text_forbids() {
    assert!(of(&["max-age=60, é"]).no_store);
}
