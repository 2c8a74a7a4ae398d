//! Requests that are nearly HTTP/1.1.

use bolero::TypeGenerator;

use crate::input::{Piece, pick, spell};

const METHODS: &[&str] = &[
    "GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "get", "G=T", "",
];

const TARGETS: &[&str] = &[
    "/",
    "/rewrite",
    "/mirror",
    "/cors",
    "/redirect",
    "/a",
    "//",
    "*",
    "?a=b",
    "#",
    "%2e%2e/",
    "http://server/",
    "server:80",
    "\\",
    "@",
    "é",
];

const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "http/1.1",
    "HTTP/1.1 ",
    "",
];

#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "content-length: 5", "content-length: 0", "Content-Length: 44", "content-length: 5, 5",
    "content-length: +5", "content-length: -1", "content-length: 05", "content-length : 5",
    "content-length:5", "content-length: 5 ", "content-length: 18446744073709551617", "content-length:",
    "transfer-encoding: chunked", "Transfer-Encoding: chunked", "transfer-encoding: Chunked",
    "transfer-encoding:\tchunked", "transfer-encoding: chunked, chunked", "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, identity", "transfer-encoding: identity", "transfer-encoding: xchunked",
    "transfer-encoding : chunked", "transfer-encoding:\u{b}chunked", " transfer-encoding: chunked",
    "transfer-encoding:", "transfer_encoding: chunked", "x: y\rtransfer-encoding: chunked",
    "x: y\ntransfer-encoding: chunked", "x: \0", "x", ": x", " folded", "x-through: client",
    "connection: close", "connection: keep-alive", "connection: upgrade", "connection: content-length",
    "connection: transfer-encoding", "connection: x-through, host", "upgrade: websocket", "upgrade: h2c",
    "expect: 100-continue", "te: trailers, chunked", "trailer: content-length", "host: other", "host: ",
    "host: a b", "origin: https://a.example", "access-control-request-method: PUT",
    "content-type: application/grpc", "http2-settings: AAMAAABkAAQAAP__",
];

pub(super) const BODIES: &[&str] = &[
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "0\r\ncontent-length: 5\r\n\r\n",
    "5;a=b\r\nhello\r\n",
    "5;a=\"\n\"\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "05\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "+5\r\nhello\r\n",
    "5\nhello\n",
    "5\r\nhello",
    "0\n\n",
    "-1\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000005\r\nhello\r\n",
    "2c\r\n",
    "\r\n",
    "\n",
    "GET /smuggled HTTP/1.1\r\nhost: server\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nx: ",
    "\0",
];

#[derive(Clone, Debug, TypeGenerator)]
pub(super) struct Request {
    method: u8,
    target: Vec<Piece>,
    version: u8,
    /// One in eight has none.
    host: u8,
    fields: Vec<(u8, u8)>,
    body: Vec<Piece>,
}

impl Request {
    pub(super) fn bytes(&self) -> Vec<u8> {
        const FIELDS_MAX: usize = 4;
        const TARGET_PIECES_MAX: usize = 3;
        const BODY_PIECES_MAX: usize = 6;
        let mut bytes = pick(METHODS, self.method).as_bytes().to_vec();
        bytes.push(b' ');
        // Half of them are in order.
        let in_order = self.target.len() % 2 == 0;
        let target = match &self.target[..] {
            [Piece::Word(index) | Piece::Byte(index), ..] if in_order => {
                pick(&TARGETS[..7], *index).as_bytes().to_vec()
            }
            [] => b"/".to_vec(),
            pieces => spell(TARGETS, &pieces[..pieces.len().min(TARGET_PIECES_MAX)]),
        };
        bytes.extend(target);
        bytes.push(b' ');
        bytes.extend_from_slice(pick(VERSIONS, self.version).as_bytes());
        bytes.extend_from_slice(b"\r\n");
        if self.host % 8 != 0 {
            bytes.extend_from_slice(b"host: server\r\n");
        }
        for (index, end) in self.fields.iter().take(FIELDS_MAX) {
            bytes.extend_from_slice(pick(FIELDS, *index).as_bytes());
            bytes.extend_from_slice(line_end(*end));
        }
        bytes.extend_from_slice(b"\r\n");
        let body = &self.body[..self.body.len().min(BODY_PIECES_MAX)];
        bytes.extend(spell(BODIES, body));
        bytes
    }
}

/// Seldom another one than there must be.
fn line_end(which: u8) -> &'static [u8] {
    match which {
        0..=7 => b"\n",
        8..=11 => b"\r",
        12..=15 => b"\r\r\n",
        _ => b"\r\n",
    }
}
