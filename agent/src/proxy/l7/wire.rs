//! A connection that HTTP is spoken over: a socket or a tunnel's stream, with the bytes that were
//! read while finding out what it speaks.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::transport::{copy::Supervision, dial::reset_on_close, hbone::io::TunnelStream};

pub(in crate::proxy) struct Wire {
    stream: Stream,
    /// Read already, to be read again.
    prefix: Bytes,
    watch: Option<Rc<Watch>>,
}

pub(in crate::proxy) enum Stream {
    Tcp(TcpStream),
    Tunnel(Box<TunnelStream>),
}

impl Stream {
    /// Ends it with a reset.
    pub(in crate::proxy) fn reset(self) {
        match self {
            Self::Tcp(stream) => reset_on_close(&stream),
            Self::Tunnel(mut stream) => stream.io().send.send_reset(h2::Reason::CONNECT_ERROR),
        }
    }
}

impl Wire {
    pub(in crate::proxy) fn into_stream(self) -> Stream {
        self.stream
    }

    pub(in crate::proxy) fn new(stream: Stream, prefix: Bytes) -> Self {
        Self {
            stream,
            prefix,
            watch: None,
        }
    }

    /// Makes the coming close a reset.
    pub(super) fn reset(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            reset_on_close(stream);
        }
    }

    /// hyper is done with it: nothing is kept back any more.
    pub(super) fn unwatch(&mut self) {
        self.watch = None;
    }

    /// A connection whose requests are served: what comes in is watched.
    pub(super) fn watched(mut self, watch: Rc<Watch>) -> Self {
        if !self.prefix.is_empty() {
            watch.saw(&self.prefix);
        }
        self.watch = Some(watch);
        self
    }
}

/// What the thread knows of a served connection: whether it is within a request's head, and what
/// hyper does not tell.
pub(super) struct Watch {
    supervision: Rc<Supervision>,
    /// Requests that are being answered.
    requests: Cell<usize>,
    /// A `Content-Length` went by since the last request.
    length_seen: Cell<bool>,
    /// Of HTTP/1.1: an answer was handed to hyper that is not wholly written.
    writing: Cell<bool>,
    speaks: Speaks,
    /// What hyper wanted to answer by itself.
    refused: Cell<Option<StatusCode>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Speaks {
    Http1,
    Http2,
}

impl Watch {
    pub(super) fn new(supervision: Rc<Supervision>, speaks: Speaks) -> Self {
        Self {
            supervision,
            requests: Cell::new(0),
            length_seen: Cell::new(false),
            writing: Cell::new(false),
            speaks,
            refused: Cell::new(None),
        }
    }

    /// hyper answers what it cannot parse by itself, with a bare status: recognised by nobody else
    /// having anything to write. It is kept back, and answered as everything else is.
    fn keeps_back(&self, bytes: &[u8]) -> bool {
        if self.speaks != Speaks::Http1 || self.requests.get() > 0 || self.writing.get() {
            return false;
        }
        let status = bytes
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| StatusCode::from_bytes(digits).ok());
        self.refused.set(status.or(self.refused.get()));
        status.is_some()
    }

    pub(super) fn refused(&self) -> Option<StatusCode> {
        self.refused.get()
    }

    fn saw(&self, bytes: &[u8]) {
        self.supervision.touch();
        // Between requests what comes is a head; within one it may be a body, which is none of
        // this one's business.
        if self.speaks == Speaks::Http1 && self.requests.get() == 0 && !bytes.is_empty() {
            self.supervision.head_began();
            if names_length(bytes) {
                self.length_seen.set(true);
            }
        }
    }

    /// A request's head is complete. Whether there was a `Content-Length` in it or just before.
    pub(super) fn request_began(&self) -> bool {
        self.requests.set(self.requests.get() + 1);
        self.supervision.head_ended();
        self.writing.set(true);
        self.length_seen.replace(false)
    }

    pub(super) fn request_ended(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.requests.get() == 0
    }
}

/// Whether a field line of this name is among the bytes. hyper drops a `Content-Length` that
/// follows a `Transfer-Encoding`; RFC 9112 §6.3 wants such a connection closed, since somebody
/// before us may have counted differently.
fn names_length(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    let colons = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':');
    colons
        .filter_map(|(at, _)| bytes.get(at.checked_sub(NAME.len())?..at))
        .any(|name| name.eq_ignore_ascii_case(NAME))
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(out.remaining());
            out.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, out),
            Stream::Tunnel(stream) => Pin::new(&mut **stream).poll_read(cx, out),
        })?;
        if let Some(watch) = &self.watch {
            watch.saw(&out.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(watch) = &self.watch {
            watch.supervision.touch();
            if watch.keeps_back(bytes) {
                return Poll::Ready(Ok(bytes.len()));
            }
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tunnel(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(watch) = &self.watch {
            watch.supervision.touch();
            if slices.first().is_some_and(|first| watch.keeps_back(first)) {
                return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
            }
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tunnel(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.stream, Stream::Tcp(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(watch) = &self.watch
            && watch.requests.get() == 0
        {
            // hyper flushes once everything is written.
            watch.writing.set(false);
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tunnel(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tunnel(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
