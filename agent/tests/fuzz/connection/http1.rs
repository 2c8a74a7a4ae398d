//! Requests that are nearly HTTP/1.1.

use bolero::TypeGenerator;

use crate::input::{Piece, pick, spell};

const METHODS: &[&str] = &[
    "POST", "GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "get", "G=T", "",
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

/// In order, but for what is wrong with it: a server that refuses it at once shows little.
#[derive(Clone, Debug, TypeGenerator)]
pub(super) struct Request {
    method: u8,
    target: u8,
    body: Body,
    flaws: [Option<Flaw>; 2],
}

/// With the length that it has.
#[derive(Clone, Debug, TypeGenerator)]
enum Body {
    None,
    Length(Vec<Piece>),
    Chunked(Vec<Vec<Piece>>),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Flaw {
    Method(u8),
    Target(Vec<Piece>),
    Version(u8),
    NoHost,
    /// A field, and how its line ends.
    Field(u8, u8),
    Again(u8),
    /// After the body, or in its place.
    More(Vec<Piece>),
}

impl Request {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut method = *pick(&METHODS[..5], self.method);
        let mut target = pick(&TARGETS[..5], self.target).as_bytes().to_vec();
        let mut version = "HTTP/1.1";
        let mut fields = b"host: server\r\n".to_vec();
        let (framing, mut body) = self.body.framed();
        let mut more = Vec::new();
        for flaw in self.flaws.iter().flatten() {
            match flaw {
                Flaw::Method(index) => method = *pick(METHODS, *index),
                Flaw::Target(pieces) => target = spell(TARGETS, pieces),
                Flaw::Version(index) => version = *pick(VERSIONS, *index),
                Flaw::NoHost => fields.clear(),
                Flaw::Field(index, end) => {
                    fields.extend_from_slice(pick(FIELDS, *index).as_bytes());
                    fields.extend_from_slice(line_end(*end));
                }
                Flaw::Again(end) => {
                    fields.extend_from_slice(framing.trim_end().as_bytes());
                    fields.extend_from_slice(line_end(*end));
                }
                Flaw::More(pieces) if pieces.len() % 2 == 0 => body = spell(BODIES, pieces),
                Flaw::More(pieces) => more = spell(BODIES, pieces),
            }
        }
        let target = String::from_utf8_lossy(&target);
        let line = format!("{method} {target} {version}\r\n");
        let head = [line.as_bytes(), &fields, framing.as_bytes(), b"\r\n"].concat();
        [head, body, more].concat()
    }
}

impl Body {
    /// The field that says its length, and the bytes.
    fn framed(&self) -> (String, Vec<u8>) {
        match self {
            Self::None => (String::new(), Vec::new()),
            Self::Length(pieces) => {
                let body = spell(BODIES, pieces);
                (format!("content-length: {}\r\n", body.len()), body)
            }
            Self::Chunked(chunks) => {
                const CHUNKS_MAX: usize = 3;
                let mut body = Vec::new();
                for chunk in chunks.iter().take(CHUNKS_MAX) {
                    let chunk = spell(BODIES, chunk);
                    if !chunk.is_empty() {
                        body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                        body.extend(chunk);
                        body.extend(b"\r\n");
                    }
                }
                body.extend(b"0\r\n\r\n");
                ("transfer-encoding: chunked\r\n".to_owned(), body)
            }
        }
    }
}

/// Seldom another one than there must be.
fn line_end(which: u8) -> &'static [u8] {
    match which {
        0..=15 => b"\n",
        16..=23 => b"\r",
        24..=31 => b"\r\r\n",
        _ => b"\r\n",
    }
}
