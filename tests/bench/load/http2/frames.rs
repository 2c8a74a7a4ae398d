//! Frames of HTTP/2 (RFC 9113 §4 and §6), as far as the load needs them.

use crate::paths::backend::grpc_message;

const HEAD_BYTES: usize = 9;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much a server may send on one connection before it must hear of room again.
pub(super) const WINDOW_BYTES: u32 = 16 << 20;
/// What a connection's window is at its beginning (RFC 9113 §6.9.2).
const FIRST_WINDOW_BYTES: u32 = 65_535;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RESET: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GO_AWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

/// SETTINGS_ENABLE_PUSH: 0.
const NO_PUSH: [u8; 6] = [0, 2, 0, 0, 0, 0];

/// Header blocks (RFC 7541) without the dynamic table: the same bytes every time.
/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: bench`.
const GET_BLOCK: &[u8] = b"\x82\x86\x84\x01\x05bench";
/// `:method: POST`, `:scheme: http`, `:path: /bench.Echo/Unary`, `:authority: bench`,
/// `content-type: application/grpc`, `te: trailers`.
const GRPC_BLOCK: &[u8] =
    b"\x83\x86\x04\x11/bench.Echo/Unary\x01\x05bench\x0f\x10\x10application/grpc\x00\x02te\x08trailers";
/// As long as a small message is.
const GRPC_MESSAGE: &[u8] = b"\x0a\x1ea message of thirty-two bytes.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    Ping,
    GoAway,
    Continuation,
    Other,
}

#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    pub(super) fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }
}

/// The first frame of `bytes`, if it is whole, and what follows it.
pub(super) fn next(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [a, b, c, kind, flags, s0, s1, s2, s3] = *head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    let kind = match kind {
        DATA => Kind::Data,
        HEADERS => Kind::Headers,
        RESET => Kind::Reset,
        SETTINGS => Kind::Settings,
        PING => Kind::Ping,
        GO_AWAY => Kind::GoAway,
        CONTINUATION => Kind::Continuation,
        _ => Kind::Other,
    };
    let stream = u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1);
    let frame = Frame {
        kind,
        flags,
        stream,
        payload,
    };
    Some((frame, rest))
}

/// Whether a header block begins with `:status: 200`, which every encoder takes from the static table. Before it
/// may come updates of the dynamic table's size (RFC 7541 §4.2, §6.3).
pub(super) fn says_200(mut block: &[u8]) -> bool {
    while let [first, rest @ ..] = block {
        match first {
            0x88 => return true,
            0x3f => {
                let more = rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
                block = rest.get(more + 1..).unwrap_or_default();
            }
            0x20..=0x3e => block = rest,
            _ => return false,
        }
    }
    false
}

pub(super) fn preface() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    put(&mut out, SETTINGS, 0, 0, &NO_PUSH);
    window_update(&mut out, WINDOW_BYTES - FIRST_WINDOW_BYTES);
    out
}

pub(super) fn get(out: &mut Vec<u8>, stream: u32) {
    put(out, HEADERS, END_HEADERS | END_STREAM, stream, GET_BLOCK);
}

pub(super) fn grpc(out: &mut Vec<u8>, stream: u32) {
    put(out, HEADERS, END_HEADERS, stream, GRPC_BLOCK);
    put(out, DATA, END_STREAM, stream, &grpc_message(GRPC_MESSAGE));
}

pub(super) fn acknowledge_settings(out: &mut Vec<u8>) {
    put(out, SETTINGS, ACK, 0, &[]);
}

pub(super) fn answer_ping(out: &mut Vec<u8>, payload: &[u8]) {
    put(out, PING, ACK, 0, payload);
}

/// More room on the connection. Streams need none: an answer fits the window that each begins with.
pub(super) fn window_update(out: &mut Vec<u8>, bytes: u32) {
    put(out, WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;
