//! One stream of bytes: `send` writes for a while, `sink` counts and answers how many arrived, so that what a
//! proxy still holds in its buffers is part of the time and nothing can be lost unseen.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{LoadArgs, Measured, http, say};

/// What iperf3 writes at a time.
const CHUNK_BYTES: usize = 128 << 10;
/// A proxy may hold some MiB when the sender is done.
const DRAIN: Duration = Duration::from_secs(20);

pub(crate) fn send(args: &LoadArgs) -> Result<Measured> {
    let mut stream = http::connect(args.dest)?;
    stream.set_read_timeout(Some(DRAIN))?;
    let chunk = vec![0x5a; CHUNK_BYTES];
    say("start");
    let began = Instant::now();
    let mut sent = 0_u64;
    while began.elapsed() < args.counted {
        stream.write_all(&chunk).context("the stream broke")?;
        sent += CHUNK_BYTES as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream
        .read_exact(&mut arrived)
        .context("the sink did not say how much arrived")?;
    let seconds = began.elapsed().as_secs_f64();
    say("end");
    let arrived = u64::from_be_bytes(arrived);
    ensure!(arrived == sent, "{sent} bytes sent, {arrived} arrived");
    Ok(Measured {
        connections: 1,
        bytes: sent,
        seconds,
        ..Measured::default()
    })
}

/// Accepts streams until it is killed. Only this bench connects, one stream at a time.
pub(crate) fn sink(mut words: impl Iterator<Item = String>) -> Result<()> {
    let address = words.next().context("sink: ADDRESS")?;
    let listener =
        TcpListener::bind(&address).with_context(|| format!("cannot listen on {address}"))?;
    for stream in listener.incoming() {
        if let Err(error) = stream.map_err(Into::into).and_then(drain) {
            eprintln!("sink: {error:#}");
        }
    }
    Ok(())
}

fn drain(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(DRAIN))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut arrived = 0_u64;
    loop {
        match stream.read(&mut chunk)? {
            0 => break,
            n => arrived += n as u64,
        }
    }
    stream.write_all(&arrived.to_be_bytes())?;
    Ok(())
}
