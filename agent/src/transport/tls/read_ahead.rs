//! A socket that is read in large pieces.
//!
//! rustls asks for 4 KiB at a time; one system call for each would cost more than the decryption.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::transport::copy::with_scratch;

/// What is kept for the next read, beyond which the buffer is given back.
const KEPT_BYTES_MAX: usize = 16 << 10;

#[derive(Debug)]
pub struct ReadAhead {
    socket: TcpStream,
    /// Read, and not asked for yet; empty most of the time.
    ahead: Vec<u8>,
    taken: usize,
}

impl ReadAhead {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            ahead: Vec::new(),
            taken: 0,
        }
    }

    fn take(&mut self, out: &mut ReadBuf<'_>) {
        let rest = &self.ahead[self.taken..];
        let length = rest.len().min(out.remaining());
        out.put_slice(&rest[..length]);
        self.taken += length;
        if self.taken == self.ahead.len() {
            self.taken = 0;
            if self.ahead.capacity() > KEPT_BYTES_MAX {
                self.ahead = Vec::new();
            } else {
                self.ahead.clear();
            }
        }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let this = &mut *self;
            return with_scratch(|scratch| {
                let mut read = ReadBuf::new(scratch);
                ready!(Pin::new(&mut this.socket).poll_read(cx, &mut read))?;
                let bytes = read.filled();
                let (now, later) = bytes.split_at(bytes.len().min(out.remaining()));
                out.put_slice(now);
                this.ahead.extend_from_slice(later);
                Poll::Ready(Ok(()))
            });
        }
        self.take(out);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
