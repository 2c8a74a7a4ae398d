//! The server name in a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3). TLS of the application's
//! own is passed through, so it is read and nothing else: neither checked nor answered.

use std::borrow::Cow;

use super::{CLIENT_HELLO, TLS_RECORD_BYTES_MAX};

/// The longest ClientHello that is read; those of clients with post-quantum keys have 2 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 << 10;

/// The longest name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sni {
    /// In lower case.
    Found(String),
    /// It names none, is malformed or too long.
    None,
    /// The ClientHello goes on.
    NeedMore,
}

/// Reads from the beginning of a connection. Any verdict but [`Sni::NeedMore`] is final: bytes that
/// come after do not change it.
pub fn sni(client_hello: &[u8]) -> Sni {
    match handshake(client_hello) {
        Err(verdict) => verdict,
        Ok(hello) => match server_name(&hello) {
            Some(name) => Sni::Found(name),
            None => Sni::None,
        },
    }
}

/// The ClientHello without its header, put together from as many records as it has.
///
/// # Errors
/// The verdict, where there is none or not yet.
fn handshake(mut bytes: &[u8]) -> Result<Cow<'_, [u8]>, Sni> {
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        let fragment = record(&mut bytes)?;
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Sni::None);
        }
        if let [_, high, middle, low, ..] = *message {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > CLIENT_HELLO_BYTES_MAX {
                return Err(Sni::None);
            }
            if message.len() >= 4 + length {
                return Ok(match message {
                    Cow::Borrowed(message) => Cow::Borrowed(&message[4..4 + length]),
                    Cow::Owned(message) => Cow::Owned(message[4..4 + length].to_vec()),
                });
            }
        }
    }
}

/// Takes one record's fragment from the front.
fn record<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], Sni> {
    let &[kind, major, _, high, low, ref rest @ ..] = *bytes else {
        let wrong = bytes.iter().zip([0x16, 0x03]).any(|(byte, of)| *byte != of);
        return Err(if wrong { Sni::None } else { Sni::NeedMore });
    };
    let length = u16::from_be_bytes([high, low]);
    if (kind, major) != (0x16, 0x03) || !(1..=TLS_RECORD_BYTES_MAX).contains(&length) {
        return Err(Sni::None);
    }
    let (fragment, rest) = rest.split_at_checked(length.into()).ok_or(Sni::NeedMore)?;
    *bytes = rest;
    Ok(fragment)
}

fn server_name(hello: &[u8]) -> Option<String> {
    let mut rest = hello;
    // Version and random.
    take(&mut rest, 2 + 32)?;
    let session_id = length8(&mut rest)?;
    take(&mut rest, session_id)?;
    let cipher_suites = length16(&mut rest)?;
    take(&mut rest, cipher_suites)?;
    let compression_methods = length8(&mut rest)?;
    take(&mut rest, compression_methods)?;
    let extensions = length16(&mut rest)?;
    let mut extensions = take(&mut rest, extensions)?;
    loop {
        let kind = length16(&mut extensions)?;
        let length = length16(&mut extensions)?;
        let mut extension = take(&mut extensions, length)?;
        // server_name
        if kind == 0 {
            let length = length16(&mut extension)?;
            return host_name(take(&mut extension, length)?);
        }
    }
}

/// The first entry of the type `host_name`; no other type was ever defined.
fn host_name(mut list: &[u8]) -> Option<String> {
    let kind = length8(&mut list)?;
    let length = length16(&mut list)?;
    let name = take(&mut list, length)?;
    let plain = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
    (kind == 0 && plain).then_some(name)
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn length8(bytes: &mut &[u8]) -> Option<usize> {
    take(bytes, 1).map(|bytes| usize::from(bytes[0]))
}

fn length16(bytes: &mut &[u8]) -> Option<usize> {
    take(bytes, 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

#[cfg(test)]
mod tests;
