//! Closed loop over HTTP/2 by prior knowledge (RFC 9113): several streams on each connection, the next request as
//! soon as one is answered. Unary gRPC calls are the same with a message and trailers.
//!
//! Just enough HTTP/2: the requests are always the same bytes, and an answer is good when its status is 200 and
//! its body as long as the file behind it.

mod frames;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{Timespec, epoll};

use self::frames::{Frame, Kind};
use super::crew::{self, Phase};
use super::http::{self, BUFFER_BYTES};
use super::{ERRORS_MAX, LoadArgs, Measured, clamp_ns};
use crate::paths::backend::{BODY_BYTES, GRPC_PREFIX_BYTES};

/// Requests under way on one connection.
pub(crate) const STREAMS_PER_CONNECTION: usize = 8;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    /// A unary call: one message there, one back, and trailers.
    Grpc,
}

impl Call {
    fn body_bytes(self) -> usize {
        match self {
            Self::Get => BODY_BYTES,
            Self::Grpc => GRPC_PREFIX_BYTES + BODY_BYTES,
        }
    }
}

/// A request under way.
struct Stream {
    id: u32,
    sent: Instant,
    status_ok: bool,
    body_bytes: usize,
}

struct Conn {
    socket: TcpStream,
    call: Call,
    streams: Vec<Stream>,
    next_id: u32,
    /// Read, but not yet a whole frame.
    input: Vec<u8>,
    output: Vec<u8>,
    /// Of DATA, since the server was last given more room.
    unacknowledged_bytes: u32,
}

/// Asks once, and takes no answer but a good one.
pub(crate) fn probe(dest: SocketAddr, call: Call) -> Result<()> {
    let mut conn = Conn::open(dest, call, 1)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n = conn.socket.read(&mut buffer)?;
        ensure!(n > 0, "{dest} closed the connection");
        let mut answered = 0;
        conn.absorb(&buffer[..n], |_latency| answered += 1)?;
        if answered > 0 {
            return Ok(());
        }
        conn.flush()?;
    }
}

pub(crate) fn run(args: &LoadArgs, call: Call) -> Result<Measured> {
    crew::drive(args, |share, phase| work(args, call, share, phase))
}

fn work(args: &LoadArgs, call: Call, share: usize, phase: &Phase) -> Result<(Measured, Vec<u32>)> {
    let mut measured = Measured {
        connections: share as u64,
        ..Measured::default()
    };
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut buffer = vec![0; BUFFER_BYTES];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut conns = Vec::with_capacity(share);
    for index in 0..share {
        let conn = Conn::open(args.dest, call, STREAMS_PER_CONNECTION)?;
        conn.socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &conn.socket, data, epoll::EventFlags::IN)?;
        conns.push(Some(conn));
    }
    let mut alive = share;
    let mut events = Vec::with_capacity(share);
    // A path that stops answering must not hang the run: wake up and look at the phase.
    let tick = Timespec::try_from(Duration::from_millis(50))?;
    while !phase.is_over() {
        ensure!(
            alive > 0 && measured.errors < ERRORS_MAX,
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
            let answered = |latency| {
                if phase.is_counting() {
                    measured.requests += 1;
                    latencies.push(clamp_ns(latency));
                }
            };
            if let Err(error) = conn.turn(&mut buffer, answered) {
                // All that was under way on it is lost.
                measured.errors += STREAMS_PER_CONNECTION as u64 - 1;
                measured.error(format!("{error:#}"));
                conns[index] = None;
                alive -= 1;
            }
        }
    }
    Ok((measured, latencies))
}

impl Conn {
    fn open(dest: SocketAddr, call: Call, streams: usize) -> Result<Self> {
        let mut conn = Self {
            socket: http::connect(dest)?,
            call,
            streams: Vec::with_capacity(streams),
            next_id: 1,
            input: Vec::with_capacity(BUFFER_BYTES),
            output: frames::preface(),
            unacknowledged_bytes: 0,
        };
        for _ in 0..streams {
            conn.ask();
        }
        conn.flush()?;
        Ok(conn)
    }

    fn ask(&mut self) {
        match self.call {
            Call::Get => frames::get(&mut self.output, self.next_id),
            Call::Grpc => frames::grpc(&mut self.output, self.next_id),
        }
        self.streams.push(Stream {
            id: self.next_id,
            sent: Instant::now(),
            status_ok: false,
            body_bytes: 0,
        });
        self.next_id += 2;
    }

    /// A few hundred bytes into an empty send buffer: whole or broken.
    fn flush(&mut self) -> Result<()> {
        if !self.output.is_empty() {
            self.socket.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }

    /// Reads what is there, tells of every answer, and asks again for each.
    fn turn(&mut self, buffer: &mut [u8], mut answered: impl FnMut(Duration)) -> Result<()> {
        let n = match self.socket.read(buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        ensure!(n > 0, "the server closed a kept connection");
        let mut again = 0;
        self.absorb(&buffer[..n], |latency| {
            again += 1;
            answered(latency);
        })?;
        for _ in 0..again {
            self.ask();
        }
        self.flush()
    }

    fn absorb(&mut self, bytes: &[u8], mut answered: impl FnMut(Duration)) -> Result<()> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((frame, after)) = frames::next(rest) {
            if let Some(latency) = self.frame(&frame)? {
                answered(latency);
            }
            rest = after;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// Answers how long the request took that this frame ends.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<Option<Duration>> {
        match frame.kind {
            Kind::Headers => self.headers(frame),
            Kind::Data => self.data(frame),
            Kind::Settings => {
                if !frame.is_ack() {
                    frames::acknowledge_settings(&mut self.output);
                }
                Ok(None)
            }
            Kind::Ping => {
                if !frame.is_ack() {
                    frames::answer_ping(&mut self.output, frame.payload);
                }
                Ok(None)
            }
            Kind::Reset => bail!("stream {} was reset", frame.stream),
            Kind::GoAway => bail!("the server sent GOAWAY"),
            Kind::Continuation => bail!("a header block in more than one frame"),
            Kind::Other => Ok(None),
        }
    }

    fn headers(&mut self, frame: &Frame<'_>) -> Result<Option<Duration>> {
        let grpc = self.call == Call::Grpc;
        let stream = self.stream(frame.stream)?;
        if stream.status_ok {
            ensure!(grpc && frame.ends_stream(), "trailers of a plain answer");
            return self.end(frame.stream);
        }
        ensure!(
            frames::says_200(frame.payload),
            "an answer that is not 200: header block {:02x?}",
            frame.payload
        );
        ensure!(!frame.ends_stream(), "an answer without a body");
        stream.status_ok = true;
        Ok(None)
    }

    fn data(&mut self, frame: &Frame<'_>) -> Result<Option<Duration>> {
        self.unacknowledged_bytes += frame.payload.len() as u32;
        if self.unacknowledged_bytes >= frames::WINDOW_BYTES / 2 {
            frames::window_update(&mut self.output, self.unacknowledged_bytes);
            self.unacknowledged_bytes = 0;
        }
        let grpc = self.call == Call::Grpc;
        self.stream(frame.stream)?.body_bytes += frame.payload.len();
        if !frame.ends_stream() {
            return Ok(None);
        }
        // RFC of nobody, but of gRPC: the status comes in trailers.
        ensure!(!grpc, "a gRPC answer without trailers");
        self.end(frame.stream)
    }

    fn stream(&mut self, id: u32) -> Result<&mut Stream> {
        let found = self.streams.iter_mut().find(|stream| stream.id == id);
        found.with_context(|| format!("a frame of stream {id}, which is not open"))
    }

    fn end(&mut self, id: u32) -> Result<Option<Duration>> {
        let index = self.streams.iter().position(|stream| stream.id == id);
        let stream = self.streams.swap_remove(index.context("no such stream")?);
        let expected = self.call.body_bytes();
        ensure!(
            stream.status_ok && stream.body_bytes == expected,
            "a body of {} bytes instead of {expected}",
            stream.body_bytes
        );
        Ok(Some(stream.sent.elapsed()))
    }
}
