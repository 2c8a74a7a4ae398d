//! Between two sockets.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{Meter, Supervision, with_scratch};
use crate::{telemetry::Reason, transport::dial::reset_on_close};

/// Copies between two sockets, to be closed afterwards. `down` is the client's side.
pub async fn between_sockets(
    down: &mut TcpStream,
    up: &mut TcpStream,
    meter: &impl Meter,
    supervision: &Supervision,
) -> Reason {
    let reason = {
        let (mut down_read, mut down_write) = down.split();
        let (mut up_read, mut up_write) = up.split();
        let (mut request, mut response) = (SocketHalf::default(), SocketHalf::default());
        poll_fn(|cx| {
            if let Poll::Ready(reason) = supervision.poll_ended(cx) {
                return Poll::Ready(reason);
            }
            let received = |bytes| {
                supervision.touch();
                meter.received(bytes);
            };
            let sent = |bytes| {
                supervision.touch();
                meter.sent(bytes);
            };
            let one = request.poll(cx, &mut down_read, &mut up_write, received);
            if let Poll::Ready(Err(broken)) = one {
                return Poll::Ready(broken.reason(Reason::DownstreamReset, Reason::UpstreamReset));
            }
            let other = response.poll(cx, &mut up_read, &mut down_write, sent);
            if let Poll::Ready(Err(broken)) = other {
                return Poll::Ready(broken.reason(Reason::UpstreamReset, Reason::DownstreamReset));
            }
            supervision.set_half_closed(one.is_ready() || other.is_ready());
            if one.is_ready() && other.is_ready() {
                return Poll::Ready(Reason::Ok);
            }
            Poll::Pending
        })
        .await
    };
    if reason != Reason::Ok {
        reset_on_close(down);
        reset_on_close(up);
    }
    reason
}

/// Which side of a direction broke.
enum Broken {
    From,
    To,
}

impl Broken {
    fn reason(self, from: Reason, to: Reason) -> Reason {
        match self {
            Self::From => from,
            Self::To => to,
        }
    }
}

/// One direction between two sockets.
#[derive(Default)]
struct SocketHalf {
    /// Read, but not yet taken by the other side.
    pending: Bytes,
    finished_reading: bool,
    done: bool,
}

impl SocketHalf {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        count: impl Fn(u64),
    ) -> Poll<Result<(), Broken>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending));
                self.pending.advance(written.map_err(|_| Broken::To)?);
            }
            if self.finished_reading {
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            ready!(with_scratch(|scratch| {
                self.poll_through(cx, from, to, scratch, &count)
            }))?;
        }
    }

    /// Reads once, and writes what was read as far as `to` takes it.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        scratch: &mut [u8],
        count: &impl Fn(u64),
    ) -> Poll<Result<(), Broken>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(|_| Broken::From)?;
        let mut bytes = buffer.filled();
        if bytes.is_empty() {
            self.finished_reading = true;
            return Poll::Ready(Ok(()));
        }
        count(bytes.len() as u64);
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) => bytes = &bytes[written..],
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::To)),
                Poll::Pending => {
                    self.pending = Bytes::copy_from_slice(bytes);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
