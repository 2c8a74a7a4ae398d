//! Collects what HTTP/2 writes into few, large writes.
//!
//! h2 flushes after every DATA frame: with many streams on one connection that would be a TLS
//! record, a system call and a wake-up of the peer for each. Here a flush by h2 does nothing; the
//! connection's task flushes once, after h2 has written all that it has.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Collected bytes that are written without waiting for more.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// A write of this size is passed on as it is: copying it would cost more than a call.
const PASSED_ON_BYTES: usize = 16 << 10;
/// What is kept for the next writes, beyond which the buffer is given back.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// h2's end of a connection.
pub(super) struct Corked<S>(Rc<RefCell<Inner<S>>>);

/// The task's end.
pub(super) struct Uncork<S>(Rc<RefCell<Inner<S>>>);

struct Inner<S> {
    stream: S,
    buffer: Vec<u8>,
    written: usize,
    /// Something was written to the stream and not flushed.
    dirty: bool,
}

pub(super) fn cork<S>(stream: S) -> (Corked<S>, Uncork<S>) {
    let inner = Rc::new(RefCell::new(Inner {
        stream,
        buffer: Vec::new(),
        written: 0,
        dirty: false,
    }));
    (Corked(Rc::clone(&inner)), Uncork(inner))
}

impl<S: AsyncWrite + Unpin> Uncork<S> {
    /// Runs what drives the connection, flushing after each of its turns.
    pub(super) async fn drive<T>(&self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        poll_fn(|cx| {
            let outcome = connection.as_mut().poll(cx);
            // An error shows to h2 with its next read or write.
            let _ = self.0.borrow_mut().poll_flush(cx);
            outcome
        })
        .await
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let rest = &self.buffer[self.written..];
            let length = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += length;
            self.dirty = true;
        }
        self.written = 0;
        if self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = Vec::new();
        } else {
            self.buffer.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if length < PASSED_ON_BYTES && self.buffer.len() + length <= BUFFER_BYTES_MAX {
            for slice in slices {
                self.buffer.extend_from_slice(slice);
            }
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_drain(cx))?;
        self.dirty = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Left to [`Uncork::drive`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
