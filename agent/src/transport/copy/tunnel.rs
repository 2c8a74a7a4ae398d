//! Between a socket and a tunnel.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};
use tokio_util::io::poll_read_buf;

use super::{Meter, Supervision, with_scratch};
use crate::{
    telemetry::Reason,
    transport::{dial::reset_on_close, limits::READ_BYTES_MAX},
};

/// A read of this size is the start of a bulk transfer: the next one goes into a buffer of its own,
/// which travels on without being copied.
const BULK_READ_BYTES: usize = 64 << 10;

/// One end of a tunnel.
pub struct TunnelIo {
    pub send: SendStream<Bytes>,
    pub recv: RecvStream,
    /// Received, and not passed on yet.
    pending: Bytes,
}

impl TunnelIo {
    pub fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self {
            send,
            recv,
            pending: Bytes::new(),
        }
    }

    /// Gives back what was read of it.
    pub fn unread(&mut self, bytes: Bytes) {
        self.pending = bytes;
    }

    /// What the peer has sent, once it has; nothing where it ended the stream.
    pub async fn peek(&mut self) -> &[u8] {
        poll_fn(|cx| {
            if self.pending.is_empty()
                && let Some(Ok(bytes)) = ready!(self.recv.poll_data(cx))
            {
                self.pending = bytes;
            }
            Poll::Ready(())
        })
        .await;
        &self.pending
    }
}

/// Which end of the mesh the socket is on: decides whose bytes are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketSide {
    /// The socket is the client's, the tunnel leads to the destination.
    Client,
    /// The tunnel comes from the client, the socket is the destination's.
    Server,
}

/// Copies between a socket and a tunnel, to be closed afterwards.
pub async fn with_tunnel(
    socket: &mut TcpStream,
    tunnel: &mut TunnelIo,
    side: SocketSide,
    meter: &impl Meter,
    supervision: &Supervision,
) -> Reason {
    let (of_socket, of_peer) = match side {
        SocketSide::Client => (Reason::DownstreamReset, Reason::UpstreamReset),
        SocketSide::Server => (Reason::UpstreamReset, Reason::DownstreamReset),
    };
    let from_socket = |bytes| match side {
        SocketSide::Client => meter.received(bytes),
        SocketSide::Server => meter.sent(bytes),
    };
    let from_tunnel = |bytes| match side {
        SocketSide::Client => meter.sent(bytes),
        SocketSide::Server => meter.received(bytes),
    };
    let ended = {
        let (mut read, mut write) = socket.split();
        let mut into = IntoTunnel::default();
        let mut out = OutOfTunnel {
            pending: std::mem::take(&mut tunnel.pending),
            ..OutOfTunnel::default()
        };
        poll_fn(|cx| {
            if let Poll::Ready(reason) = supervision.poll_ended(cx) {
                return Poll::Ready(Ended::Told(reason));
            }
            let one = into.poll(cx, &mut read, &mut tunnel.send, |bytes| {
                supervision.touch();
                from_socket(bytes);
            });
            if let Poll::Ready(Err(ended)) = one {
                return Poll::Ready(ended);
            }
            let other = out.poll(cx, &mut tunnel.recv, &mut write, |bytes| {
                supervision.touch();
                from_tunnel(bytes);
            });
            if let Poll::Ready(Err(ended)) = other {
                return Poll::Ready(ended);
            }
            supervision.set_half_closed(one.is_ready() || other.is_ready());
            if one.is_ready() && other.is_ready() {
                return Poll::Ready(Ended::InOrder);
            }
            Poll::Pending
        })
        .await
    };
    match ended {
        Ended::InOrder => Reason::Ok,
        Ended::SocketReset => {
            // RST ⇄ RST_STREAM(CONNECT_ERROR), RFC 9113 §8.5.
            tunnel.send.send_reset(h2::Reason::CONNECT_ERROR);
            reset_on_close(socket);
            of_socket
        }
        Ended::PeerReset => {
            reset_on_close(socket);
            of_peer
        }
        Ended::TunnelBroken => {
            reset_on_close(socket);
            Reason::TunnelReset
        }
        Ended::Told(reason) => {
            tunnel.send.send_reset(h2::Reason::CONNECT_ERROR);
            reset_on_close(socket);
            reason
        }
    }
}

/// Why copying with a tunnel stopped.
enum Ended {
    InOrder,
    SocketReset,
    /// The application at the tunnel's other end reset its connection.
    PeerReset,
    TunnelBroken,
    Told(Reason),
}

impl Ended {
    /// A stream error as RFC 9113 §8.5 means it for CONNECT: CONNECT_ERROR is a reset of the TCP
    /// connection behind it, anything else is trouble of the tunnel.
    fn from_h2(error: &h2::Error) -> Self {
        if error.is_reset() && error.reason() == Some(h2::Reason::CONNECT_ERROR) {
            Self::PeerReset
        } else {
            Self::TunnelBroken
        }
    }
}

/// NO_ERROR and CANCEL: the peer wants no more, which is not a reset of its application.
fn is_end_of_stream(error: &h2::Error) -> bool {
    error.is_reset()
        && matches!(
            error.reason(),
            Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL)
        )
}

/// From the socket into the tunnel.
#[derive(Default)]
struct IntoTunnel {
    bulk: bool,
    done: bool,
}

impl IntoTunnel {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
        to: &mut SendStream<Bytes>,
        count: impl Fn(u64),
    ) -> Poll<Result<(), Ended>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            // Only a socket that has something asks for room: a reservation holds back window
            // from the other streams of the connection.
            ready!(from.as_ref().poll_read_ready(cx)).map_err(|_| Ended::SocketReset)?;
            ready!(poll_room(cx, to))?;
            let bytes = ready!(self.poll_read(cx, from)).map_err(|_| Ended::SocketReset)?;
            let last = bytes.is_empty();
            count(bytes.len() as u64);
            match to.send_data(bytes, last) {
                Ok(()) => {}
                // The stream is closed already: what closed it is seen by the other direction.
                Err(_) => self.done = true,
            }
            if last {
                self.done = true;
            }
            if self.done {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads once; nothing means the end. Small reads are copied out of the thread's buffer, which
    /// then serves the next connection; a bulk transfer's are read into their own.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
    ) -> Poll<io::Result<Bytes>> {
        if self.bulk {
            let mut own = BytesMut::with_capacity(READ_BYTES_MAX);
            let length = ready!(poll_read_buf(Pin::new(from), cx, &mut own))?;
            self.bulk = length >= BULK_READ_BYTES;
            return Poll::Ready(Ok(if self.bulk {
                own.freeze()
            } else {
                Bytes::copy_from_slice(&own)
            }));
        }
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            self.bulk = bytes.len() >= BULK_READ_BYTES;
            Poll::Ready(Ok(Bytes::copy_from_slice(bytes)))
        })
    }
}

/// Waits until flow control and the send buffer have taken what was sent before.
fn poll_room(cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<Result<(), Ended>> {
    loop {
        stream.reserve_capacity(1);
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(Ended::from_h2(&error))),
            // No longer open for sending; the other direction says why. Let the send find out.
            None => return Poll::Ready(Ok(())),
        }
    }
}

/// From the tunnel to the socket.
#[derive(Default)]
struct OutOfTunnel {
    pending: Bytes,
    finished_reading: bool,
    done: bool,
}

impl OutOfTunnel {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut RecvStream,
        to: &mut WriteHalf<'_>,
        count: impl Fn(u64),
    ) -> Poll<Result<(), Ended>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))
                    .map_err(|_| Ended::SocketReset)?;
                self.pending.advance(written);
                // The window opens only as the application takes bytes: back-pressure end to end.
                let _ = from.flow_control().release_capacity(written);
                count(written as u64);
            }
            if self.finished_reading {
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            match ready!(from.poll_data(cx)) {
                Some(Ok(bytes)) => self.pending = bytes,
                Some(Err(error)) if is_end_of_stream(&error) => self.finished_reading = true,
                Some(Err(error)) => return Poll::Ready(Err(Ended::from_h2(&error))),
                None => self.finished_reading = true,
            }
        }
    }
}
