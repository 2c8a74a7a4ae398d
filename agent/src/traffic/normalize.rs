//! One spelling for a path, for routing and authorization. The app receives what the client sent.
//!
//! What Istio calls `DECODE_AND_MERGE_SLASHES`, in Envoy's order: escapes of unreserved characters
//! and of both slashes are decoded, once; a backslash is a slash; dot segments are resolved
//! (RFC 3986 §5.2.4); then slashes are merged. So `/a//../b` is `/a/b`. Other escapes stay, with
//! their digits in upper case (RFC 3986 §6.2.2.1), so that one text in a route matches both
//! spellings. `%252F` is an escaped percent sign, which stays one.

use std::borrow::Cow;

use thiserror::Error;

/// Why a path is answered with 400.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PathError {
    #[error("the path has a percent sign without two hexadecimal digits after it")]
    Escape,
    #[error("the path has an escaped NUL")]
    Nul,
    #[error("the path has a control character")]
    Control,
    #[error("the path does not begin with a slash")]
    Relative,
}

/// The normal form of `raw`, a path without its query; borrowed where `raw` is in it already.
/// An empty path is `/` (RFC 9110 §4.2.3); `*` (OPTIONS) stays.
///
/// # Errors
/// For what no server should guess at: answer 400.
pub fn path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    match raw.as_bytes().first() {
        None => return Ok(Cow::Borrowed("/")),
        Some(b'*') if raw.len() == 1 => return Ok(Cow::Borrowed(raw)),
        Some(b'/' | b'\\') => {}
        Some(_) => return Err(PathError::Relative),
    }
    if is_normal(raw.as_bytes())? {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = decode(raw)?;
    Ok(Cow::Owned(merge(&resolve(&decoded))))
}

/// One pass over the bytes, which almost every path ends with.
fn is_normal(raw: &[u8]) -> Result<bool, PathError> {
    let mut normal = true;
    for (at, byte) in raw.iter().enumerate() {
        match byte {
            b'/' => normal &= !begins_slash_or_dots(raw.get(at + 1..).unwrap_or_default()),
            b'\\' => normal = false,
            b'%' => {
                let escape = escape_at(raw, at)?;
                normal &= !is_decoded(escape.byte) && escape.upper;
            }
            0..=0x1f | 0x7f => return Err(PathError::Control),
            _ => {}
        }
    }
    Ok(normal)
}

/// Whether what follows a slash is another one, or a dot segment.
fn begins_slash_or_dots(rest: &[u8]) -> bool {
    matches!(
        rest,
        [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
    )
}

struct Escape {
    byte: u8,
    /// Its digits have no lower-case letter.
    upper: bool,
}

/// The escape whose percent sign is at `at`.
fn escape_at(raw: &[u8], at: usize) -> Result<Escape, PathError> {
    let (Some(&high), Some(&low)) = (raw.get(at + 1), raw.get(at + 2)) else {
        return Err(PathError::Escape);
    };
    let byte = hex_byte(high, low).ok_or(PathError::Escape)?;
    if byte == 0 {
        return Err(PathError::Nul);
    }
    Ok(Escape {
        byte,
        upper: !high.is_ascii_lowercase() && !low.is_ascii_lowercase(),
    })
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Unreserved characters (RFC 3986 §2.3) and the slashes.
fn is_decoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\')
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['%', '\\']) {
        decoded.push_str(&rest[..at]);
        if rest.as_bytes()[at] == b'\\' {
            decoded.push('/');
            rest = &rest[at + 1..];
            continue;
        }
        let Escape { byte, .. } = escape_at(rest.as_bytes(), at)?;
        match byte {
            b'\\' => decoded.push('/'),
            byte if is_decoded(byte) => decoded.push(char::from(byte)),
            _ => decoded.push_str(&rest[at..at + 3].to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// RFC 3986 §5.2.4, never above the root.
fn resolve(path: &str) -> String {
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    resolved.truncate(resolved.rfind('/').unwrap_or(0));
                }
                if segments.peek().is_none() {
                    resolved.push('/');
                }
            }
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
            }
        }
    }
    resolved
}

fn merge(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for part in path.split_inclusive('/') {
        if part != "/" || !merged.ends_with('/') {
            merged.push_str(part);
        }
    }
    merged
}

#[cfg(test)]
mod tests;
