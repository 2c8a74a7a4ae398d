//! Open loop: requests are due at a fixed rate, and latency counts from when a request was due, not from when a
//! free connection was found for it (coordinated omission).

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::event::{Timespec, epoll};

use super::http::{self, BUFFER_BYTES, KEEP};
use super::{LoadArgs, Measured, PATIENCE, clamp_ns, say};

struct Conn {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    got: usize,
}

pub(crate) fn run(args: &LoadArgs) -> Result<Measured> {
    ensure!(args.rate > 0, "open loop without a rate");
    // The default slack of 50 µs would be part of every latency.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let (_, reply_bytes) = http::probe(args.dest, KEEP)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut conns = Vec::with_capacity(args.connections);
    for index in 0..args.connections {
        let stream = http::connect(args.dest)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &poll,
            &stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )?;
        conns.push(Conn {
            stream,
            due: None,
            got: 0,
        });
    }
    let interval = Duration::from_nanos(1_000_000_000 / args.rate);
    let count = |time: Duration| (time.as_nanos() / interval.as_nanos()) as u64;
    let warm = count(args.warm_up());
    let total = warm + count(args.counted);

    let mut measured = Measured {
        connections: args.connections as u64,
        ..Measured::default()
    };
    let mut latencies = Vec::with_capacity(total as usize);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(args.connections);
    let mut free: VecDeque<usize> = (0..args.connections).collect();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let begin = Instant::now() + interval;
    let due_at = |n: u64| begin + Duration::from_nanos(interval.as_nanos() as u64 * n);
    let counted_from = due_at(warm);
    let (mut due_count, mut done) = (0_u64, 0_u64);
    let give_up = due_at(total) + PATIENCE;
    while done < total {
        let now = Instant::now();
        if now > give_up {
            measured.error(format!(
                "{} requests got no reply within {PATIENCE:?}",
                total - done
            ));
            measured.errors += total - done - 1;
            break;
        }
        while due_count < total && due_at(due_count) <= now {
            if due_count == warm {
                say("start");
            }
            waiting.push_back(due_at(due_count));
            due_count += 1;
        }
        while let (Some(due), Some(index)) = (waiting.front().copied(), free.front().copied()) {
            waiting.pop_front();
            free.pop_front();
            conns[index].due = Some(due);
            conns[index].stream.write_all(KEEP)?;
        }
        let until = if due_count < total {
            due_at(due_count)
        } else {
            now + Duration::from_millis(50)
        };
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now()))?;
        events.clear();
        match epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let index = event.data.u64() as usize;
            if let Some(due) = reply(&mut conns[index], &mut buffer, reply_bytes)? {
                done += 1;
                free.push_back(index);
                if due >= counted_from {
                    measured.requests += 1;
                    latencies.push(clamp_ns(due.elapsed()));
                }
            }
        }
    }
    say("end");
    measured.seconds = counted_from.elapsed().as_secs_f64();
    measured.quantiles(latencies);
    Ok(measured)
}

/// Reads what is there; answers when the finished request was due.
fn reply(conn: &mut Conn, buffer: &mut [u8], reply_bytes: usize) -> Result<Option<Instant>> {
    let n = match conn.stream.read(buffer) {
        Ok(0) => bail!("the server closed a kept connection"),
        Ok(n) => n,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    conn.got += n;
    ensure!(conn.got <= reply_bytes, "a reply was longer than the first");
    if conn.got < reply_bytes {
        return Ok(None);
    }
    conn.got = 0;
    Ok(conn.due.take())
}
