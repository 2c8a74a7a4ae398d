use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{headers, kept};
use crate::traffic::testing;

#[test]
fn a_stale_answer_says_that_it_is_one() {
    let stored = testing::headers(&[
        ("age", "3"),
        ("etag", "\"1\""),
        ("cache-status", "origin; hit"),
    ]);
    let served = headers(&stored, Duration::from_millis(61_900));
    let wanted = testing::headers(&[
        ("age", "61"),
        ("etag", "\"1\""),
        ("cache-status", "origin; hit"),
        ("cache-status", "weir; hit; fwd=stale"),
    ]);
    assert_eq!(served, wanted);
}

#[test]
fn what_was_for_one_hop_is_not_kept() {
    let answer = testing::headers(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x-sum"),
        ("set-cookie", "a=b"),
        ("content-type", "text/plain"),
        ("content-length", "5"),
    ]);
    let wanted = testing::headers(&[("content-type", "text/plain"), ("content-length", "5")]);
    assert_eq!(kept(answer), wanted);
}

/// As many small answers as fit would else keep as many large buffers.
#[test]
fn no_buffer_is_held() {
    let buffer = Bytes::from(vec![b'x'; 4_096]);
    let value = HeaderValue::from_maybe_shared(buffer.slice(..10)).unwrap();
    let mut answer = HeaderMap::new();
    answer.append("x-one", value.clone());
    answer.append("x-one", value);
    let kept = kept(answer);
    assert_eq!(kept.get_all("x-one").iter().count(), 2);
    assert!(buffer.is_unique());
}
