//! Many bytes both ways at once, each of them checked where it arrives.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use serde_json::json;

use crate::{
    Outcome,
    io::{Dial, describe, tell},
};

/// Prime, so that the stream never repeats in step with a buffer: whatever is lost, doubled or
/// swapped shows.
const PATTERN_BYTES: usize = 1_048_583;

/// Which end sends: each has a stream of its own, so that an echo is no right answer.
#[derive(Clone, Copy)]
#[repr(u64)]
enum End {
    Client = 1,
    Server = 2,
}

pub(crate) fn server(listener: &TcpListener, bytes: u64) -> Outcome {
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || report("served", &stream, bytes, End::Server));
    }
    Ok(())
}

pub(crate) fn client(addr: SocketAddr, bytes: u64) -> Outcome {
    let stream = Dial::default().connect(addr)?.stream;
    report("transferred", &stream, bytes, End::Client);
    Ok(())
}

fn report(event: &str, stream: &TcpStream, bytes: u64, end: End) {
    let start = Instant::now();
    let result = both_ways(stream, bytes, end);
    let received = *result.as_ref().unwrap_or(&0);
    tell(&json!({
        "event": event,
        "error": result.err().map(|error| describe(&error)),
        "received": received,
        "seconds": start.elapsed().as_secs_f64(),
    }));
}

fn both_ways(stream: &TcpStream, bytes: u64, end: End) -> io::Result<u64> {
    let (mine, theirs) = match end {
        End::Client => (End::Client, End::Server),
        End::Server => (End::Server, End::Client),
    };
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(stream, bytes, mine));
        let received = receive(stream, bytes, theirs);
        match sender.join() {
            Ok(sent) => sent.and(received),
            Err(_) => Err(ErrorKind::Other.into()),
        }
    })
}

fn send(mut stream: &TcpStream, bytes: u64, end: End) -> io::Result<()> {
    let pattern = pattern(end);
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(pattern.len());
        stream.write_all(&pattern[..length])?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)
}

/// Returns how many bytes came, each of them the one that was sent there.
fn receive(mut stream: &TcpStream, bytes: u64, end: End) -> io::Result<u64> {
    let pattern = pattern(end);
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            let complete = received == bytes;
            return complete
                .then_some(received)
                .ok_or_else(|| ErrorKind::UnexpectedEof.into());
        }
        let mut piece = &buffer[..length];
        while !piece.is_empty() {
            let at = (received % pattern.len() as u64) as usize;
            let expected = &pattern[at..];
            let length = piece.len().min(expected.len());
            if piece[..length] != expected[..length] {
                return Err(io::Error::other(format!("wrong bytes near {received}")));
            }
            received += length as u64;
            piece = &piece[length..];
        }
    }
}

/// xorshift64.
fn pattern(end: End) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ end as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..PATTERN_BYTES).map(|_| next()).collect()
}
