//! A tunnel's stream as bytes in and out.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Held;
use crate::transport::copy::TunnelIo;

/// One write into the tunnel: flow control lets in what it lets in, and the copy stays small.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// A tunnel's stream that HTTP is spoken over.
pub struct TunnelStream {
    io: TunnelIo,
    /// Received and not read yet.
    pending: Bytes,
    /// The dialling side counts the stream for as long as it is in use.
    _held: Option<Held>,
}

impl TunnelStream {
    pub fn new(io: TunnelIo, held: Option<Held>) -> Self {
        Self {
            io,
            pending: Bytes::new(),
            _held: held,
        }
    }

    /// The stream itself, with what was received and not read, for who copies it.
    pub fn io(&mut self) -> &mut TunnelIo {
        if !self.pending.is_empty() {
            self.io.unread(std::mem::take(&mut self.pending));
        }
        &mut self.io
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.pending.is_empty() {
            match ready!(self.io.recv.poll_data(cx)) {
                Some(Ok(bytes)) => self.pending = bytes,
                Some(Err(error)) if is_end(&error) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.pending.len().min(out.remaining());
        out.put_slice(&self.pending[..length]);
        self.pending.advance(length);
        // The window opens only as bytes are taken: back-pressure end to end.
        let _ = self.io.recv.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let send = &mut self.io.send;
        send.reserve_capacity(bytes.len().min(WRITE_BYTES_MAX));
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = bytes.len().min(send.capacity()).min(WRITE_BYTES_MAX);
        let piece = Bytes::copy_from_slice(&bytes[..length]);
        match send.send_data(piece, false) {
            Ok(()) => Poll::Ready(Ok(length)),
            Err(error) => Poll::Ready(Err(to_io(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error means that the stream is closed already, which is what is wanted.
        let _ = self.io.send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}

/// NO_ERROR and CANCEL: the peer wants no more, which is not a failure.
fn is_end(error: &h2::Error) -> bool {
    error.is_reset()
        && matches!(
            error.reason(),
            Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL)
        )
}

fn to_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
