//! Frames that are nearly HTTP/2 (RFC 9113 §6).

use bolero::TypeGenerator;

use crate::input::pick;

/// With the SETTINGS, here empty, that must come first (§3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What a request must have; then what else it may have, and must not.
const REQUEST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "server"),
];

#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("content-length", "5"), ("content-length", "0"), ("content-length", "+5"), ("content-length", "5, 5"),
    ("transfer-encoding", "chunked"), ("connection", "close"), ("connection", "x-through"),
    ("upgrade", "websocket"), ("te", "trailers"), ("te", "gzip"), ("host", "other"), ("Host", "server"),
    ("x-through", "client"), ("x", "a\r\ntransfer-encoding: chunked"), ("x", "a\nb: c"), ("x\r\ny", "a"),
    ("x y", "a"), ("", "a"), ("x:", "a"), ("x", "\0"), ("expect", "100-continue"), (":path", "/a b"),
    (":path", "/ HTTP/1.1\r\nx: y\r\n\r\n"), (":path", ""), (":path", "*"), (":method", "CONNECT"),
    (":method", "GET /a HTTP/1.1\r\nx: y"), (":protocol", "websocket"), (":authority", "a\r\nb"),
    (":scheme", "https"), (":status", "200"), (":unknown", "a"), ("cookie", "a=b"),
    ("content-type", "application/grpc"), ("grpc-timeout", "1n"),
];

#[derive(Clone, Debug, TypeGenerator)]
pub(super) enum Frame {
    Request {
        stream: u8,
        ends: bool,
        without: Option<u8>,
        flaw: Option<u8>,
    },
    Data {
        stream: u8,
        ends: bool,
        bytes: Vec<u8>,
    },
    Settings {
        ack: bool,
        settings: Vec<(u8, u32)>,
    },
    WindowUpdate {
        stream: u8,
        by: u32,
    },
    Reset {
        stream: u8,
        code: u32,
    },
    Ping([u8; 8]),
    Any {
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Vec<u8>,
    },
    /// A frame whose length says otherwise.
    Lies {
        length: u16,
        kind: u8,
        flags: u8,
        stream: u8,
    },
}

impl Frame {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Request {
                stream,
                ends,
                without,
                flaw,
            } => {
                let mut block = Vec::new();
                for (at, (name, value)) in REQUEST.iter().enumerate() {
                    if without.is_none_or(|without| usize::from(without) % 16 != at) {
                        literal(&mut block, name, value);
                    }
                }
                if let Some(index) = flaw {
                    let (name, value) = pick(FIELDS, *index);
                    literal(&mut block, name, value);
                }
                let flags = END_HEADERS | if *ends { END_STREAM } else { 0 };
                frame(0x1, flags, client_stream(*stream), &block)
            }
            Self::Data {
                stream,
                ends,
                bytes,
            } => {
                let flags = if *ends { END_STREAM } else { 0 };
                frame(0x0, flags, client_stream(*stream), bytes)
            }
            Self::Settings { ack, settings } => {
                let each = |(id, value): &(u8, u32)| {
                    let id = u16::from(id % 10).to_be_bytes();
                    [&id[..], &value.to_be_bytes()].concat()
                };
                let payload: Vec<u8> = settings.iter().flat_map(each).collect();
                frame(0x4, u8::from(*ack), 0, &payload)
            }
            Self::WindowUpdate { stream, by } => {
                let stream = if *stream == 0 {
                    0
                } else {
                    client_stream(*stream)
                };
                frame(0x8, 0, stream, &by.to_be_bytes())
            }
            Self::Reset { stream, code } => {
                frame(0x3, 0, client_stream(*stream), &code.to_be_bytes())
            }
            Self::Ping(payload) => frame(0x6, 0, 0, payload),
            Self::Any {
                kind,
                flags,
                stream,
                payload,
            } => frame(kind % 12, *flags, *stream, payload),
            Self::Lies {
                length,
                kind,
                flags,
                stream,
            } => {
                let mut bytes = frame(kind % 12, *flags, client_stream(*stream), &[]);
                bytes[1..3].copy_from_slice(&length.to_be_bytes());
                bytes
            }
        }
    }
}

/// One of few, so that frames meet on one.
fn client_stream(of: u8) -> u32 {
    u32::from(of % 4) * 2 + 1
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field without indexing, its name written out (RFC 7541 §6.2.2), neither in Huffman's code.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    }
}
