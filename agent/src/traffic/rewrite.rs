//! `HTTPPathModifier`: what a rewrite or a redirect makes of a path.
//!
//! A prefix was matched on the normalized path, but the app is to receive what the client sent. So
//! what comes after the prefix is taken from the path as sent, where that reads as prefix and rest
//! and the rest, alone, means the same. Else (`/%61/b` for `/a`, or `/a/../a/b`, whose rest
//! `/../a/b` would climb out of the new prefix) it is taken from the normalized path.

use std::borrow::Cow;

use super::{matching::strip_segments, normalize};
use crate::model::route::PathModifier;

/// The new path and query. The query stays. `prefix` is the matched one, see
/// [`super::matching::matched_prefix`]; where there is none, a prefix cannot be replaced, and the
/// path stays.
pub fn path_and_query(
    modifier: &PathModifier,
    path_and_query: &str,
    prefix: Option<&str>,
) -> String {
    let (path, query) = split_query(path_and_query);
    match modifier {
        PathModifier::Full(full) => rooted(full, "") + query,
        PathModifier::Prefix(replacement) => {
            match prefix.and_then(|prefix| rest_after(path, prefix)) {
                Some(rest) => replace_prefix(replacement, &rest) + query,
                None => path_and_query.to_owned(),
            }
        }
    }
}

/// At the question mark, which the second part keeps.
pub(super) fn split_query(path_and_query: &str) -> (&str, &str) {
    let at = path_and_query.find('?').unwrap_or(path_and_query.len());
    path_and_query.split_at(at)
}

/// `None`: the path is not below the prefix.
fn rest_after<'p>(raw: &'p str, prefix: &str) -> Option<Cow<'p, str>> {
    let normal = normalize::path(raw).ok()?;
    let rest = strip_segments(&normal, prefix)?;
    let as_sent = strip_segments(raw, prefix)
        .filter(|sent| *sent == rest || normalize::path(sent).is_ok_and(|sent| sent == rest));
    Some(match as_sent {
        Some(sent) => Cow::Borrowed(sent),
        None => Cow::Owned(rest.to_owned()),
    })
}

/// One slash between the two, whoever brings it.
fn replace_prefix(replacement: &str, rest: &str) -> String {
    match rest {
        "" => rooted(replacement, ""),
        _ => rooted(replacement.trim_end_matches('/'), rest),
    }
}

/// Both, with a slash in front.
fn rooted(path: &str, rest: &str) -> String {
    let slash =
        match path.is_empty() && rest.is_empty() || !path.is_empty() && !path.starts_with('/') {
            true => "/",
            false => "",
        };
    [slash, path, rest].concat()
}

#[cfg(test)]
mod tests;
