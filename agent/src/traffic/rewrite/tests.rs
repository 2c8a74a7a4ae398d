use proptest::prelude::*;

use super::path_and_query;
use crate::{
    model::route::PathModifier,
    traffic::{matching, normalize},
};

fn replace(path: &str, prefix: &str, replacement: &str) -> String {
    path_and_query(
        &PathModifier::Prefix(replacement.into()),
        path,
        Some(prefix),
    )
}

/// The table of `HTTPPathModifier.replacePrefixMatch`.
#[test]
fn the_specification_s_table() {
    for (path, prefix, replacement, modified) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
    ] {
        assert_eq!(
            replace(path, prefix, replacement),
            modified,
            "{path} {prefix} {replacement}"
        );
        let with_query = replace(&format!("{path}?a=/foo&b"), prefix, replacement);
        assert_eq!(with_query, format!("{modified}?a=/foo&b"));
    }
}

#[test]
fn the_root_is_a_prefix_of_all() {
    assert_eq!(replace("/foo/bar", "/", "/xyz"), "/xyz/foo/bar");
    assert_eq!(replace("/foo", "/", "/"), "/foo");
    assert_eq!(replace("/", "/", "/xyz/"), "/xyz/");
}

#[test]
fn a_full_path_keeps_the_query() {
    let full = |to: &str, path| path_and_query(&PathModifier::Full(to.into()), path, None);
    assert_eq!(full("/new", "/old/path"), "/new");
    assert_eq!(full("/new", "/old?a=b?c"), "/new?a=b?c");
    assert_eq!(full("", "/old?"), "/?");
    assert_eq!(full("new", "/old"), "/new");
}

#[test]
fn the_rest_is_what_the_client_sent() {
    assert_eq!(replace("/a/b%2Fc/%e9", "/a", "/x"), "/x/b%2Fc/%e9");
    assert_eq!(replace("/a//b/", "/a", "/x"), "/x//b/");
    assert_eq!(replace("/a/b/../c", "/a", "/x"), "/x/b/../c");
}

#[test]
fn where_the_prefix_is_not_literally_there_the_normal_rest_is_taken() {
    assert_eq!(replace("/%61/b%2Fc?q", "/a", "/x"), "/x/b/c?q");
    assert_eq!(replace("//a/b", "/a", "/x"), "/x/b");
    assert_eq!(replace("/z/../a/b", "/a", "/x"), "/x/b");
    // As sent, this rest would leave /x.
    assert_eq!(replace("/a/../a/b", "/a", "/x"), "/x/b");
    assert_eq!(replace("/a/%2e%2e/a", "/a", "/x"), "/x");
}

#[test]
fn what_has_no_such_prefix_stays() {
    assert_eq!(replace("/ab/c?q", "/a", "/x"), "/ab/c?q");
    assert_eq!(replace("/a/../b", "/a", "/x"), "/a/../b");
    assert_eq!(replace("/%zz", "/", "/x"), "/%zz");
    let prefix = PathModifier::Prefix("/x".into());
    assert_eq!(path_and_query(&prefix, "/a?q", None), "/a?q");
}

proptest! {
    /// However the client spells it, the new path means the new prefix and the normal rest.
    #[test]
    fn rewriting_and_normalizing_commute(
        start in prop::sample::select(vec!["/a", "/%61", "//a", "/b/../a", "/a/../a", "\\a/b/.."]),
        parts in prop::collection::vec(
            prop::sample::select(vec!["/", "/", "a", "b", "..", ".", "%2F", "%61", "\\", "%20"]),
            0..8,
        ),
    ) {
        let raw = format!("{start}/{}", parts.concat());
        let normal = normalize::path(&raw).unwrap();
        if let Some(rest) = matching::strip_segments(&normal, "/a") {
            let rewritten = replace(&raw, "/a", "/x/y");
            prop_assert_eq!(normalize::path(&rewritten).unwrap(), format!("/x/y{rest}"));
        }
    }
}
