//! Input that is near a grammar: words of it, and bytes between them.

use std::{env, time::Duration};

use bolero::TypeGenerator;

/// How long each target runs. CI runs them all at once, on as many threads as it has.
const SECONDS: u64 = 1;

/// Another number of seconds.
const SECONDS_VARIABLE: &str = "WEIR_FUZZ_SECONDS";

/// How long a target runs.
pub(crate) fn time() -> Duration {
    let seconds = match env::var(SECONDS_VARIABLE) {
        Ok(text) => text.parse().expect(SECONDS_VARIABLE),
        Err(_) => SECONDS,
    };
    Duration::from_secs(seconds)
}

/// A piece of a text; which word it is depends on the words that there are.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) enum Piece {
    Word(u8),
    Byte(u8),
}

pub(crate) fn spell(words: &[&str], pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Word(index) => bytes.extend_from_slice(pick(words, *index).as_bytes()),
            Piece::Byte(byte) => bytes.push(*byte),
        }
    }
    bytes
}

/// The same; what is no UTF-8 is replaced.
pub(crate) fn text(words: &[&str], pieces: &[Piece]) -> String {
    String::from_utf8_lossy(&spell(words, pieces)).into_owned()
}

pub(crate) fn pick<T>(of: &[T], index: u8) -> &T {
    &of[usize::from(index) % of.len()]
}
