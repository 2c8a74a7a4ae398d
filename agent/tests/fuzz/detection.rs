//! What a connection speaks, and the name in a ClientHello: no bytes make them panic, and what they
//! said stands when more bytes come.

use std::fmt::Debug;

use bolero::TypeGenerator;
use weir::traffic::detect::{Detected, REQUEST_LINE_BYTES_MAX, Sni, detect, sni};

use crate::input::{self, Piece, spell};

const WORDS: &[&str] = &[
    "GET",
    "CONNECT",
    "OPTIONS",
    "PRI",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    " ",
    "\t",
    "/",
    "*",
    "[::1]:80",
    "http://a",
    "HtTpS://",
    " HTTP/1.1",
    " HTTP/",
    "\r\n",
    "\n",
    "\u{16}\u{3}\u{1}",
    "\u{2}\u{0}\u{1}",
    "\0",
    "MAIL FROM:<a>",
];

/// A beginning, and perhaps so many bytes of one kind that the line is about as long as is read.
#[derive(Clone, Debug, TypeGenerator)]
struct Beginning {
    pieces: Vec<Piece>,
    long: Option<(u8, u8)>,
    more: Vec<Piece>,
}

impl Beginning {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = spell(WORDS, &self.pieces);
        if let Some((byte, short)) = self.long {
            let length = REQUEST_LINE_BYTES_MAX.saturating_sub(usize::from(short));
            bytes.resize(length.max(bytes.len()), byte);
        }
        bytes.extend(spell(WORDS, &self.more));
        bytes
    }
}

/// Where it is cut: anywhere, but not at each of thousands of bytes that are alike.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const EACH_WITHIN: usize = 512;
    let end = bytes.len();
    (0..=end).filter(move |cut| *cut < EACH_WITHIN || end - cut < EACH_WITHIN)
}

fn assert_final<T: PartialEq + Debug>(bytes: &[u8], need_more: &T, verdict: impl Fn(&[u8]) -> T) {
    let whole = verdict(bytes);
    for cut in cuts(bytes) {
        let early = verdict(&bytes[..cut]);
        assert!(
            early == *need_more || early == whole,
            "{early:?} after {cut} bytes, {whole:?} after all"
        );
    }
}

#[test]
fn verdicts_on_bytes_are_final() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<Beginning>()
        .for_each(|beginning| {
            let bytes = beginning.bytes();
            assert_final(&bytes, &Detected::NeedMore, detect);
            assert_final(&bytes, &Sni::NeedMore, sni);
        });
}

/// A ClientHello by RFC 8446 §4.1.2, in as many records as it is cut into.
#[derive(Clone, Debug, TypeGenerator)]
struct ClientHello {
    session_id: [u8; 32],
    cipher_suites: Vec<u16>,
    before: Vec<(u8, Vec<u8>)>,
    name: Vec<u8>,
    after: Vec<(u8, Vec<u8>)>,
    record_lengths: Vec<u8>,
}

impl ClientHello {
    /// A name made of the characters that names have.
    fn name(&self) -> String {
        const OF_NAMES: &[u8] = b"abcXYZ019-._";
        let name = self.name.iter();
        name.map(|byte| char::from(*input::pick(OF_NAMES, *byte)))
            .collect()
    }

    fn records(&self) -> Vec<u8> {
        let name = self.name();
        let entry = [&[0][..], &length16(name.as_bytes())].concat();
        let mut extensions = Vec::new();
        // 0 is `server_name`, of which there is one.
        let other = |(kind, body): &(u8, Vec<u8>)| (u16::from(*kind) + 1, body.clone());
        let before = self.before.iter().map(other);
        let after = self.after.iter().map(other);
        for (kind, body) in before.chain([(0, length16(&entry))]).chain(after) {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(length16(&body));
        }

        let suites = self.cipher_suites.iter().flat_map(|one| one.to_be_bytes());
        let mut hello = vec![3, 3];
        hello.extend([0; 32]);
        hello.push(32);
        hello.extend(self.session_id);
        hello.extend(length16(&suites.collect::<Vec<u8>>()));
        hello.extend([1, 0]);
        hello.extend(length16(&extensions));
        let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
        let message = [&[1], &length[1..], &hello].concat();

        let mut rest = &message[..];
        let mut records = Vec::new();
        let mut lengths = self.record_lengths.iter();
        while !rest.is_empty() {
            let wanted = lengths.next().map_or(rest.len(), |n| usize::from(*n) + 1);
            let (fragment, after) = rest.split_at(wanted.min(rest.len()));
            records.extend([0x16, 3, 1]);
            records.extend(length16(fragment));
            rest = after;
        }
        records
    }
}

/// Behind its length.
fn length16(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&length, body].concat()
}

#[test]
fn the_name_in_a_client_hello_is_found_however_it_is_cut() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<ClientHello>()
        .for_each(|hello| {
            let records = hello.records();
            let expected = match hello.name() {
                name if name.is_empty() => Sni::None,
                name => Sni::Found(name.to_ascii_lowercase()),
            };
            assert_eq!(sni(&records), expected);
            assert_eq!(detect(&records), Detected::Tls);
            assert_final(&records, &Sni::NeedMore, sni);
        });
}

#[test]
fn a_broken_client_hello_is_no_panic() {
    bolero::check!()
        .with_test_time(input::time())
        .with_type::<(ClientHello, Vec<(u16, u8)>)>()
        .for_each(|(hello, broken)| {
            let mut records = hello.records();
            let length = records.len();
            for (at, byte) in broken {
                records[usize::from(*at) % length] = *byte;
            }
            assert_final(&records, &Sni::NeedMore, sni);
            assert_final(&records, &Detected::NeedMore, detect);
        });
}
