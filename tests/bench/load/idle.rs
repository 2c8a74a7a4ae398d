//! Many connections that have each carried a request and then say nothing: what a connection costs in memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};

use super::http::{self, BUFFER_BYTES, KEEP};
use super::{LoadArgs, Measured, say};

/// Opened at a time. One by one would take a round trip each; all at once would test the accept queue instead.
const BATCH: usize = 100;

pub(crate) fn run(args: &LoadArgs) -> Result<Measured> {
    let (_, reply_bytes) = http::probe(args.dest, KEEP)?;
    let mut open: Vec<TcpStream> = Vec::with_capacity(args.connections);
    while open.len() < args.connections {
        let first = open.len();
        for _ in 0..BATCH.min(args.connections - first) {
            let mut stream = http::connect(args.dest)?;
            stream.write_all(KEEP)?;
            open.push(stream);
        }
        for stream in &mut open[first..] {
            read_reply(stream, reply_bytes)?;
        }
    }
    say("start");
    std::thread::sleep(args.counted);
    say("end");
    // They must all still be there, or the memory was that of fewer connections.
    let mut measured = Measured {
        connections: open.len() as u64,
        seconds: args.counted.as_secs_f64(),
        ..Default::default()
    };
    for stream in open.iter_mut().step_by(BATCH) {
        stream.write_all(KEEP)?;
        read_reply(stream, reply_bytes)?;
        measured.requests += 1;
    }
    Ok(measured)
}

fn read_reply(stream: &mut TcpStream, reply_bytes: usize) -> Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut got = 0;
    while got < reply_bytes {
        let n = stream.read(&mut buffer)?;
        ensure!(n > 0, "an idle connection was closed");
        got += n;
    }
    Ok(())
}
