use std::borrow::Cow;

use proptest::prelude::*;

use super::{PathError, path};

#[test]
fn what_is_normal_is_borrowed() {
    for raw in [
        "/",
        "/a",
        "/a/",
        "/.well-known/x",
        "/a/...",
        "/a/..b/c.",
        "/%C3%A9/%20",
        "/%252F",
        "/a;b=c/d:e@f",
        "/ä",
        "*",
    ] {
        assert!(
            matches!(path(raw), Ok(Cow::Borrowed(normal)) if normal == raw),
            "{raw}"
        );
    }
}

#[test]
fn spellings_of_one_path_become_one() {
    for (raw, normal) in [
        ("", "/"),
        // RFC 3986 §5.2.4 and §5.4, as far as they speak of paths.
        ("/a/b/c/./../../g", "/a/g"),
        ("/b/c/.", "/b/c/"),
        ("/b/c/..", "/b/"),
        ("/b/c/../../../g", "/g"),
        ("/../g", "/g"),
        ("/..", "/"),
        ("/.", "/"),
        ("/b/c/g;x=1/../y", "/b/c/y"),
        // RFC 3986 §6.2.2
        ("/%7Euser/%7efoo", "/~user/~foo"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%41%2D%2e%5f", "/A-._"),
        // DECODE_AND_MERGE_SLASHES
        ("/a%2Fb%2fc", "/a/b/c"),
        ("/a%5Cb%5cc\\d", "/a/b/c/d"),
        ("\\a", "/a"),
        ("//a///b//", "/a/b/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.%2E%2Fb", "/b"),
        ("/a%2f..%2fb", "/b"),
        ("/a\\..\\b", "/b"),
        ("/%252F/%2525", "/%252F/%2525"),
        ("/%252f", "/%252f"),
        // Envoy merges last: the dots take one empty segment with them.
        ("/a//../b", "/a/b"),
        ("/a//..", "/a/"),
    ] {
        assert_eq!(path(raw).as_deref(), Ok(normal), "{raw}");
    }
}

#[test]
fn what_is_ambiguous_is_refused() {
    for (raw, error) in [
        ("/%", PathError::Escape),
        ("/%a", PathError::Escape),
        ("/%zz", PathError::Escape),
        ("/%2%46", PathError::Escape),
        ("/%%32F", PathError::Escape),
        ("/%+1", PathError::Escape),
        ("/%é", PathError::Escape),
        ("/a%00b", PathError::Nul),
        ("/a\0b", PathError::Control),
        ("/a\rb", PathError::Control),
        ("/a\u{7f}", PathError::Control),
        ("a", PathError::Relative),
        ("**", PathError::Relative),
        ("http://a/", PathError::Relative),
    ] {
        assert_eq!(path(raw), Err(error), "{raw}");
    }
}

/// Paths of what normalization turns on, so that the cases meet each other.
fn tricky() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/", "/", "\\", ".", "..", "a", "B", "%2F", "%5c", "%2e", "%2E", "%25", "%41", "%7e",
        "%c3", "%0a", "é", "~", "2f", "%",
    ]);
    prop::collection::vec(part, 0..16).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #[test]
    fn any_text_has_a_normal_form_or_none(raw in ".*") {
        let _ = path(&raw);
    }

    #[test]
    fn the_normal_form_is_normal(raw in tricky()) {
        if let Ok(normal) = path(&raw) {
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.contains("//"));
            prop_assert!(!normal.contains('\\'));
            prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            for escaped in ["%2F", "%2f", "%5C", "%5c", "%2E", "%2e", "%41"] {
                prop_assert!(!normal.contains(escaped), "{normal}");
            }
            let again = path(&normal);
            prop_assert!(matches!(again, Ok(Cow::Borrowed(again)) if again == normal), "{normal}");
        }
    }

    /// However the slashes and letters of a plain path are written, it is the same path.
    #[test]
    fn escaping_changes_nothing(
        segments in prop::collection::vec("[a-zA-Z0-9_~-]{1,4}", 1..5),
        escaped in prop::collection::vec(any::<bool>(), 40),
    ) {
        let plain = format!("/{}", segments.join("/"));
        let mut raw = String::from("/");
        for (byte, escaped) in plain.bytes().skip(1).zip(escaped.iter().cycle()) {
            match escaped {
                true => raw.push_str(&format!("%{byte:02x}")),
                false => raw.push(char::from(byte)),
            }
        }
        let normal = path(&raw);
        prop_assert_eq!(normal.as_deref(), Ok(plain.as_str()));
    }
}
