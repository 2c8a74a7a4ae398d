//! What a connection speaks, found out from its first bytes.

use std::{io, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
};

use crate::{
    telemetry::Reason,
    traffic::detect::{self, Detected, Sni},
    transport::copy::Supervision,
};

/// What a client's first bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum First {
    Http1,
    Http2,
    /// TLS of the application's own, with the name that it asks for.
    Tls(Option<Arc<str>>),
    Opaque,
}

/// How much is read to find out: a request's line, or a ClientHello.
const FIRST_BYTES_MAX: usize = 32 << 10;

/// Reads into `buffer` until it is clear what the client speaks. A slow client is waited for: what
/// may still become HTTP is not taken for something else.
///
/// # Errors
/// When the connection broke.
pub(in crate::proxy) async fn first(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<First> {
    loop {
        if let Some(first) = decide(buffer) {
            return Ok(first);
        }
        if buffer.len() >= FIRST_BYTES_MAX || client.read_buf(buffer).await? == 0 {
            return Ok(First::Opaque);
        }
    }
}

/// The same at the destination, where the server is dialled already: whose byte comes first
/// decides, and nobody is delayed.
///
/// # Errors
/// With why the connection ended.
pub(in crate::proxy) async fn of_either(
    client: &mut (impl AsyncRead + Unpin),
    server: &TcpStream,
    buffer: &mut BytesMut,
    announced: bool,
    supervision: &Supervision,
) -> Result<First, Reason> {
    let mut head = [0; SETTINGS_HEAD_BYTES];
    // Where HTTP is announced, it is the client that speaks.
    let mut may_greet = !announced;
    loop {
        if let Some(first) = decide(buffer) {
            supervision.head_ended();
            return Ok(first);
        }
        if buffer.len() >= FIRST_BYTES_MAX {
            return Ok(First::Opaque);
        }
        let nothing_yet = buffer.is_empty();
        tokio::select! {
            read = client.read_buf(buffer) => match read {
                Ok(0) => return Ok(First::Opaque),
                Ok(_) => supervision.head_began(),
                Err(_) => return Err(Reason::DownstreamReset),
            },
            seen = server.peek(&mut head), if nothing_yet && may_greet => match seen {
                Ok(length) if is_settings(&head[..length]) => may_greet = false,
                _ => return Ok(First::Opaque),
            },
            reason = supervision.ended() => return Err(reason),
        }
    }
}

const SETTINGS_HEAD_BYTES: usize = 9;

/// An HTTP/2 server may send its SETTINGS before it has heard anything (RFC 9113 §3.4): that is no
/// greeting of a protocol in which servers speak first.
pub(in crate::proxy) fn is_settings(bytes: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    matches!(bytes, [_, _, _, SETTINGS, 0, 0, 0, 0, 0, ..])
}

/// `None`: more bytes are needed.
pub(in crate::proxy) fn decide(bytes: &[u8]) -> Option<First> {
    if bytes.is_empty() {
        return None;
    }
    match detect::detect(bytes) {
        Detected::Http1 => Some(First::Http1),
        Detected::Http2 => Some(First::Http2),
        Detected::Opaque => Some(First::Opaque),
        Detected::NeedMore => None,
        Detected::Tls => match detect::sni(bytes) {
            Sni::Found(name) => Some(First::Tls(Some(name.into()))),
            Sni::None => Some(First::Tls(None)),
            Sni::NeedMore => None,
        },
    }
}
