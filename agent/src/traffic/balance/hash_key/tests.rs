use std::net::IpAddr;

use http::HeaderName;

use super::of;
use crate::{
    model::traffic_policy::HashOn,
    traffic::{
        hash::{FNV_OFFSET, fnv, mix},
        testing::headers,
    },
};

fn key(hash_on: &HashOn, lines: &[(&str, &str)]) -> Option<u64> {
    of(hash_on, &headers(lines), "10.0.0.1".parse().unwrap())
}

fn of_text(text: &str) -> Option<u64> {
    Some(mix(fnv(FNV_OFFSET, text.as_bytes())))
}

#[test]
fn by_header() {
    let user = HashOn::Header(HeaderName::from_static("x-user"));
    assert_eq!(key(&user, &[("x-user", "ann")]), of_text("ann"));
    assert_ne!(key(&user, &[("x-user", "bob")]), of_text("ann"));
    let lines = [("x-user", "ann"), ("x-user", "bob")];
    assert_eq!(key(&user, &lines), of_text("ann, bob"));
    assert_eq!(key(&user, &[("x-user", "é")]), of_text("é"));
    assert_eq!(key(&user, &[("x-user", "")]), None);
    assert_eq!(key(&user, &[("user", "ann")]), None);
}

#[test]
fn by_cookie() {
    let cart = HashOn::Cookie("cart".into());
    let of = |line: &str| key(&cart, &[("cookie", line)]);
    assert_eq!(of("a=b; cart=7; c=d"), of_text("7"));
    assert_eq!(of("cart=\"7\""), of_text("7"));
    assert_eq!(of("cart=7; cart=8"), of_text("7"));
    assert_eq!(
        key(&cart, &[("cookie", "a=b"), ("cookie", "cart=7")]),
        of_text("7")
    );
    assert_eq!(of("cart="), None);
    assert_eq!(of("Cart=7"), None);
    assert_eq!(key(&cart, &[]), None);
}

#[test]
fn by_source() {
    let of = |source: &str| {
        let source: IpAddr = source.parse().unwrap();
        of(&HashOn::Source, &headers(&[]), source)
    };
    assert_eq!(of("10.0.0.1"), Some(mix(fnv(FNV_OFFSET, &[10, 0, 0, 1]))));
    assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
}

/// Agents of different versions agree: these numbers may never change.
#[test]
fn keys_are_the_same_everywhere() {
    assert_eq!(of_text("ann"), Some(ANN));
}

const ANN: u64 = 0x8096_e52a_d559_ed80;
