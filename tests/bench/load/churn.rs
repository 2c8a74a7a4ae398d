//! A new connection for each request, a fixed number of them at a time. The server closes first, so that
//! TIME_WAIT and its port stay on the server's side and a long run does not run out of ports.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use super::crew::{self, Phase};
use super::http::{self, BUFFER_BYTES, CLOSE};
use super::{ERRORS_MAX, LoadArgs, Measured, PATIENCE, clamp_ns};

struct Conn {
    stream: TcpStream,
    began: Instant,
    asked: bool,
    got: usize,
}

pub(crate) fn run(args: &LoadArgs) -> Result<Measured> {
    let (_, reply_bytes) = http::probe(args.dest, CLOSE)?;
    crew::drive(args, |share, phase| work(args, share, reply_bytes, phase))
}

fn work(
    args: &LoadArgs,
    share: usize,
    reply_bytes: usize,
    phase: &Phase,
) -> Result<(Measured, Vec<u32>)> {
    let mut measured = Measured::default();
    let mut latencies = Vec::with_capacity(1 << 18);
    let mut buffer = vec![0; BUFFER_BYTES];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut conns = Vec::with_capacity(share);
    for index in 0..share {
        conns.push(open(&poll, args.dest, index)?);
    }
    let mut events = Vec::with_capacity(share);
    let tick = Timespec::try_from(Duration::from_millis(50))?;
    while !phase.is_over() {
        events.clear();
        match epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&tick),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let index = event.data.u64() as usize;
            match turn(&poll, &mut conns[index], index, &mut buffer, reply_bytes) {
                Ok(false) => continue,
                Ok(true) => {
                    measured.connections += 1;
                    if phase.is_counting() {
                        measured.requests += 1;
                        latencies.push(clamp_ns(conns[index].began.elapsed()));
                    }
                }
                Err(error) => {
                    let enough = measured.error(&error);
                    ensure!(!enough, "{ERRORS_MAX} connections failed: {error:#}");
                }
            }
            // Dropping the old connection closes it and takes it out of the epoll set.
            conns[index] = open(&poll, args.dest, index)?;
        }
        // A connection that hangs would otherwise only be seen as a lower rate.
        if events.is_empty() {
            for (index, conn) in conns
                .iter_mut()
                .enumerate()
                .filter(|(_, conn)| conn.began.elapsed() > PATIENCE)
            {
                measured.error(format!("no reply within {PATIENCE:?}"));
                *conn = open(&poll, args.dest, index)?;
            }
        }
    }
    Ok((measured, latencies))
}

fn open(poll: &impl std::os::fd::AsFd, dest: SocketAddr, index: usize) -> Result<Conn> {
    let family = if dest.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    net::sockopt::set_tcp_nodelay(&socket, true)?;
    let began = Instant::now();
    match net::connect(&socket, &dest) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot connect to {dest}")),
    }
    let stream = TcpStream::from(socket);
    epoll::add(
        poll,
        &stream,
        epoll::EventData::new_u64(index as u64),
        epoll::EventFlags::OUT,
    )?;
    Ok(Conn {
        stream,
        began,
        asked: false,
        got: 0,
    })
}

/// One step of a connection; true when the reply is whole and the server has closed.
fn turn(
    poll: &impl std::os::fd::AsFd,
    conn: &mut Conn,
    index: usize,
    buffer: &mut [u8],
    reply_bytes: usize,
) -> Result<bool> {
    if !conn.asked {
        if let Some(error) = conn.stream.take_error()? {
            return Err(error).context("connect");
        }
        conn.stream.write_all(CLOSE)?;
        conn.asked = true;
        epoll::modify(
            poll,
            &conn.stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )?;
        return Ok(false);
    }
    loop {
        match conn.stream.read(buffer) {
            Ok(0) => {
                ensure!(
                    conn.got == reply_bytes,
                    "closed after {} of {reply_bytes} bytes",
                    conn.got
                );
                return Ok(true);
            }
            Ok(n) => {
                ensure!(conn.got > 0 || http::is_ok(&buffer[..n]), "not a 200");
                conn.got += n;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}
