use http::HeaderMap;
use proptest::{collection::vec, prelude::*};

use super::{DEPTH_MAX, MEMBERS_MAX, STATE_BYTES_MAX, read, strip, write};
use crate::traffic::testing::headers;

const PARENT: (&str, &str) = (
    "traceparent",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
);

fn state(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all("tracestate").iter();
    let line = lines.next()?.to_str().unwrap();
    assert!(lines.next().is_none());
    Some(line)
}

#[test]
fn the_larger_of_both_is_read() {
    for (lines, depth) in [
        (&[][..], 0),
        (&[("x-weir-retry-depth", "2")], 2),
        (&[("tracestate", "a=1, weir=r:3 ,b=2")], 3),
        (
            &[("x-weir-retry-depth", "2"), ("tracestate", "weir=r:3")],
            3,
        ),
        (
            &[("x-weir-retry-depth", "4"), ("tracestate", "weir=r:3")],
            4,
        ),
        (
            &[("x-weir-retry-depth", "1"), ("x-weir-retry-depth", "6")],
            6,
        ),
        (&[("tracestate", "a=1"), ("tracestate", "weir=r:5")], 5),
        (&[("x-weir-retry-depth", "256")], DEPTH_MAX),
        (&[("x-weir-retry-depth", "99999999999999999999")], DEPTH_MAX),
        (&[("x-weir-retry-depth", "-1")], 0),
        (&[("x-weir-retry-depth", "+1")], 0),
        (&[("x-weir-retry-depth", "")], 0),
        (&[("x-weir-retry-depth", "ü")], 0),
        (&[("tracestate", "weir=3,xweir=r:4,weir=r:,weir=r:x")], 0),
    ] {
        assert_eq!(read(&headers(lines)), depth, "{lines:?}");
    }
}

#[test]
fn ours_comes_first_and_once() {
    let mut request = headers(&[
        PARENT,
        ("tracestate", "a=1,weir=r:1,, b=2"),
        ("tracestate", "c@weir=3"),
        ("x-weir-retry-depth", "1"),
    ]);
    write(&mut request, 2);
    assert_eq!(state(&request), Some("weir=r:2,a=1,b=2,c@weir=3"));
    assert_eq!(request.get_all("x-weir-retry-depth").iter().count(), 1);
    assert_eq!(read(&request), 2);
    write(&mut request, 1_000);
    assert_eq!(read(&request), DEPTH_MAX);
    strip(&mut request);
    assert_eq!(state(&request), Some("a=1,b=2,c@weir=3"));
    assert!(!request.contains_key("x-weir-retry-depth"));
}

#[test]
fn without_a_trace_only_the_header() {
    let mut request = headers(&[]);
    write(&mut request, 1);
    assert_eq!(request, headers(&[("x-weir-retry-depth", "1")]));
    let mut request = headers(&[("tracestate", "weir=r:9")]);
    write(&mut request, 1);
    assert_eq!(request, headers(&[("x-weir-retry-depth", "1")]));
    let mut request = headers(&[PARENT]);
    write(&mut request, 1);
    assert_eq!(state(&request), Some("weir=r:1"));
    // A first try says nothing.
    write(&mut request, 0);
    assert_eq!(request, headers(&[PARENT]));
}

#[test]
fn what_has_nothing_of_ours_stays_byte_by_byte() {
    let lines = [PARENT, ("tracestate", "a=1 ,, b=2"), ("tracestate", "c=3")];
    let mut request = headers(&lines);
    strip(&mut request);
    assert_eq!(request, headers(&lines));
}

#[test]
fn members_go_whole_long_ones_first() {
    let long = format!("long={}", "x".repeat(200));
    let short = |at: usize| format!("k{at}={}", "y".repeat(90));
    let all = [short(0), long, short(1), short(2), short(3)].join(",");
    let mut request = headers(&[PARENT, ("tracestate", &all)]);
    write(&mut request, 7);
    let kept = [
        String::from("weir=r:7"),
        short(0),
        short(1),
        short(2),
        short(3),
    ];
    assert_eq!(state(&request), Some(&*kept.join(",")));

    let many: Vec<String> = (0..40).map(|at| format!("k{at}=1")).collect();
    let mut request = headers(&[PARENT, ("tracestate", &many.join(","))]);
    write(&mut request, 7);
    let kept: Vec<_> = state(&request).unwrap().split(',').collect();
    assert_eq!(kept.len(), MEMBERS_MAX);
    assert_eq!(kept[0], "weir=r:7");
    assert_eq!(kept[1..], many[..MEMBERS_MAX - 1]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        others in vec("[a-z]{1,8}(=[!-+\\--<>-~]{0,150})?|[ \t]*", 0..50),
        lines in 1_usize..4,
        depth in 0_u32..400,
    ) {
        let mut request = headers(&[PARENT]);
        for line in others.chunks(others.len().div_ceil(lines).max(1)) {
            let line = http::HeaderValue::try_from(line.join(",")).unwrap();
            request.append("tracestate", line);
        }
        let before = request.clone();
        write(&mut request, depth);
        let expected = if depth == 0 { 0 } else { depth.min(DEPTH_MAX) };
        prop_assert_eq!(read(&request), expected);
        if depth > 0 {
            let state = state(&request).unwrap();
            prop_assert!(state.len() <= STATE_BYTES_MAX);
            prop_assert!(state.split(',').count() <= MEMBERS_MAX);
            // All others are whole, and in their order.
            let mut those = others.iter().map(|member| member.trim());
            for kept in state.split(',').skip(1) {
                prop_assert!(those.any(|other| other == kept), "{}", kept);
            }
        } else if !others.iter().any(|member| member.starts_with("weir=")) {
            prop_assert_eq!(request, before);
        }
    }
}
