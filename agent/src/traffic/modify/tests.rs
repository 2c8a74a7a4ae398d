use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers;
use crate::model::route::HeaderModifier;

fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    // Lines of one name keep their order.
    lines.sort_by_key(|(name, _)| *name);
    lines
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn pairs(lines: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    lines.iter().map(pair).collect()
}

/// The examples of `HTTPHeaderFilter`.
#[test]
fn the_specification_s_examples() {
    let mut set = map(&[("my-header", "foo")]);
    headers(
        &HeaderModifier {
            set: pairs(&[("my-header", "bar")]),
            ..HeaderModifier::default()
        },
        &mut set,
    );
    assert_eq!(lines(&set), [("my-header", "bar")]);

    let mut add = map(&[("my-header", "foo")]);
    headers(
        &HeaderModifier {
            add: pairs(&[("my-header", "bar"), ("my-header", "baz")]),
            ..HeaderModifier::default()
        },
        &mut add,
    );
    assert_eq!(
        lines(&add),
        [
            ("my-header", "foo"),
            ("my-header", "bar"),
            ("my-header", "baz")
        ]
    );

    let mut remove = map(&[
        ("my-header1", "foo"),
        ("my-header2", "bar"),
        ("my-header3", "baz"),
    ]);
    headers(
        &HeaderModifier {
            remove: vec![
                HeaderName::from_static("my-header1"),
                HeaderName::from_static("my-header3"),
            ],
            ..HeaderModifier::default()
        },
        &mut remove,
    );
    assert_eq!(lines(&remove), [("my-header2", "bar")]);
}

#[test]
fn what_is_added_is_not_lost_again() {
    let mut all = map(&[("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1")]);
    headers(
        &HeaderModifier {
            set: pairs(&[("b", "3"), ("d", "1")]),
            add: pairs(&[("a", "4"), ("b", "4"), ("d", "2")]),
            remove: vec![
                HeaderName::from_static("a"),
                HeaderName::from_static("absent"),
            ],
        },
        &mut all,
    );
    assert_eq!(
        lines(&all),
        [
            ("a", "4"),
            ("b", "3"),
            ("b", "4"),
            ("c", "1"),
            ("d", "1"),
            ("d", "2")
        ]
    );
}
