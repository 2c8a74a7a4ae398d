//! Closed loop over kept connections: as many requests as the path carries.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::event::{Timespec, epoll};

use super::crew::{self, Phase};
use super::http::{self, BUFFER_BYTES, KEEP};
use super::{LoadArgs, Measured, clamp_ns};

struct Conn {
    stream: TcpStream,
    sent: Instant,
    got: usize,
}

pub(crate) fn run(args: &LoadArgs) -> Result<Measured> {
    let (_, reply_bytes) = http::probe(args.dest, KEEP)?;
    crew::drive(args, |share, phase| work(args, share, reply_bytes, phase))
}

fn work(
    args: &LoadArgs,
    share: usize,
    reply_bytes: usize,
    phase: &Phase,
) -> Result<(Measured, Vec<u32>)> {
    let mut measured = Measured::default();
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut buffer = vec![0; BUFFER_BYTES];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut conns = Vec::with_capacity(share);
    for index in 0..share {
        let mut stream = http::connect(args.dest)?;
        stream.write_all(KEEP)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &poll,
            &stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )?;
        conns.push(Some(Conn {
            stream,
            sent: Instant::now(),
            got: 0,
        }));
    }
    measured.connections = share as u64;
    let mut alive = share;
    let mut events = Vec::with_capacity(share);
    // A path that stops answering must not hang the run: wake up and look at the phase.
    let tick = Timespec::try_from(Duration::from_millis(50))?;
    while !phase.is_over() {
        ensure!(
            alive > 0,
            "every connection broke: {}",
            measured.first_error.unwrap_or_default()
        );
        events.clear();
        match epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&tick),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let index = event.data.u64() as usize;
            let Some(conn) = conns[index].as_mut() else {
                continue;
            };
            match turn(conn, &mut buffer, reply_bytes) {
                Ok(None) => {}
                Ok(Some(latency)) => {
                    if phase.is_counting() {
                        measured.requests += 1;
                        latencies.push(clamp_ns(latency));
                    }
                }
                Err(error) => {
                    measured.error(error);
                    conns[index] = None;
                    alive -= 1;
                }
            }
        }
    }
    Ok((measured, latencies))
}

/// Reads what is there; when the reply is whole, asks again at once.
fn turn(conn: &mut Conn, buffer: &mut [u8], reply_bytes: usize) -> Result<Option<Duration>> {
    let n = match conn.stream.read(buffer) {
        Ok(n) => n,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    ensure!(n > 0, "the server closed a kept connection");
    ensure!(conn.got > 0 || http::is_ok(&buffer[..n]), "not a 200");
    conn.got += n;
    ensure!(conn.got <= reply_bytes, "a reply was longer than the first");
    if conn.got < reply_bytes {
        return Ok(None);
    }
    let now = Instant::now();
    let latency = now - conn.sent;
    (conn.sent, conn.got) = (now, 0);
    // 50 bytes into an empty send buffer: whole or broken.
    conn.stream.write_all(KEEP)?;
    Ok(Some(latency))
}
