//! What a connection speaks, from the client's first bytes.
//!
//! HTTP is recognised by what it says rather than by whether it says it correctly: `METHOD`, a
//! target, ` HTTP/` and a digit, whatever else is in the line. What is nearly HTTP must get 400
//! from the server here, rather than pass as opaque to an app that is less exact.

mod sni;

pub use self::sni::{CLIENT_HELLO_BYTES_MAX, Sni, sni};

/// The length of a request line beyond which a plausible beginning is enough; the server answers
/// 414.
pub const REQUEST_LINE_BYTES_MAX: usize = 16 << 10;

/// The methods of IANA's registry, and PURGE. Others are HTTP on ports that are said to be: here a
/// short word of an opaque protocol must not be waited upon to become a request.
#[rustfmt::skip]
const METHODS: &[&str] = &[
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET",
    "HEAD", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF",
    "MKWORKSPACE", "MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND", "PROPPATCH",
    "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT",
    "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
];

/// RFC 9113 §3.4
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A plaintext record (RFC 8446 §5.1).
const TLS_RECORD_BYTES_MAX: u16 = 1 << 14;

/// The handshake's type (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// HTTP/1.x, perhaps malformed.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// A TLS ClientHello begins.
    Tls,
    /// Anything else.
    Opaque,
    /// More bytes decide.
    NeedMore,
}

/// What all the bytes that came so far begin. Any verdict but [`Detected::NeedMore`] is final:
/// bytes that come after do not change it.
pub fn detect(bytes: &[u8]) -> Detected {
    if HTTP2_PREFACE.starts_with(bytes) && bytes.len() < HTTP2_PREFACE.len() {
        return Detected::NeedMore;
    }
    if bytes.starts_with(HTTP2_PREFACE) {
        return Detected::Http2;
    }
    match bytes.first() {
        Some(0x16) => tls(bytes),
        _ => http1(bytes),
    }
}

/// A handshake record of TLS 1.0 to 1.3 that begins with a ClientHello.
fn tls(bytes: &[u8]) -> Detected {
    let hello = [0x16..=0x16, 0x03..=0x03, 0x00..=0x04];
    if !bytes.iter().zip(&hello).all(|(byte, of)| of.contains(byte)) {
        return Detected::Opaque;
    }
    let &[_, _, _, high, low, handshake, ..] = bytes else {
        return Detected::NeedMore;
    };
    let length = u16::from_be_bytes([high, low]);
    match (1..=TLS_RECORD_BYTES_MAX).contains(&length) && handshake == CLIENT_HELLO {
        true => Detected::Tls,
        false => Detected::Opaque,
    }
}

fn http1(bytes: &[u8]) -> Detected {
    let line = &bytes[..bytes.len().min(REQUEST_LINE_BYTES_MAX)];
    let is_full = line.len() == REQUEST_LINE_BYTES_MAX;
    let Some(method_end) = line.iter().position(is_blank) else {
        let begins_method = |method: &&str| method.as_bytes().starts_with(line);
        return match METHODS.iter().any(begins_method) {
            true => Detected::NeedMore,
            false => Detected::Opaque,
        };
    };
    let (method, rest) = line.split_at(method_end);
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return Detected::Opaque;
    }
    let Some(target) = rest.iter().position(|byte| !is_blank(byte)) else {
        return match is_full {
            true => Detected::Opaque,
            false => Detected::NeedMore,
        };
    };
    match begins_target(&rest[target..], method) {
        Some(true) => {}
        Some(false) => return Detected::Opaque,
        None if is_full => return Detected::Opaque,
        None => return Detected::NeedMore,
    }
    match names_version(&rest[target..]) {
        Some(true) => Detected::Http1,
        Some(false) => Detected::Opaque,
        None if is_full => Detected::Http1,
        None => Detected::NeedMore,
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether this begins as one of the four forms of a target (RFC 9112 §3.2); `None` as long as it
/// can still become one. It is what tells `get key` (memcached) or `MAIL FROM:` from HTTP before
/// the line has ended.
fn begins_target(target: &[u8], method: &[u8]) -> Option<bool> {
    match target.first()? {
        b'/' | b'*' => return Some(true),
        b'[' => return Some(method == b"CONNECT"),
        byte if method == b"CONNECT" => return Some(byte.is_ascii_alphanumeric()),
        _ => {}
    }
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let mut undecided = false;
    for scheme in schemes {
        let known = target.len().min(scheme.len());
        if target[..known].eq_ignore_ascii_case(&scheme[..known]) {
            if known == scheme.len() {
                return Some(true);
            }
            undecided = true;
        }
    }
    if undecided { None } else { Some(false) }
}

/// Whether ` HTTP/` and a digit come before the line's end; `None` as long as they still can.
fn names_version(line: &[u8]) -> Option<bool> {
    let end = line.iter().position(|byte| *byte == b'\n');
    let named = line[..end.unwrap_or(line.len())].windows(7).any(|window| {
        is_blank(&window[0]) && &window[1..6] == b"HTTP/" && window[6].is_ascii_digit()
    });
    match (named, end) {
        (true, _) => Some(true),
        (false, Some(_)) => Some(false),
        (false, None) => None,
    }
}

#[cfg(test)]
mod tests;
