//! A TLS stream that reads and writes in large pieces.
//!
//! rustls' own buffers are filled 4 KiB at a time and cost a copy at each end. Here ciphertext is
//! read into one buffer and decrypted in it; what is written is encrypted into the thread's buffer
//! and goes to the socket from there. An idle connection holds neither.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::{
    CommonState,
    unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, WriteTraffic},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

use super::records::Records;

/// How much ciphertext is asked for at once: from the least, doubled while reads fill it.
const READ_BYTES_MIN: usize = 8 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// Plaintext that is encrypted at once.
const ENCRYPTED_BYTES_MAX: usize = 240 << 10;
/// What encryption adds: a header, a content type and a tag to each 16 KiB (RFC 8446 §5.2).
const SEALED_BYTES_MAX: usize = ENCRYPTED_BYTES_MAX + (8 << 10);

/// Room for a record that is about the connection itself.
const CONTROL_RECORD_BYTES: usize = 256;

thread_local! {
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SEALED_BYTES_MAX].into());
}

pub struct TlsStream<C> {
    socket: TcpStream,
    connection: C,
    /// Ciphertext that has not been decrypted.
    incoming: BytesMut,
    read_bytes: usize,
    /// Plaintext that was not asked for yet.
    plaintext: BytesMut,
    /// Ciphertext that the socket did not take yet.
    outgoing: Bytes,
    /// The peer has said that nothing more comes.
    closed: bool,
}

/// What one look at the records came to.
enum Step {
    /// There was something; look again.
    Again,
    Plaintext,
    /// Nothing more without reading.
    Starved,
    /// Nothing more without reading, and what was to be written is encrypted.
    Sealed,
    Closed,
}

/// What to do with what the records hold.
enum Want<'a, 'b> {
    /// Keep plaintext for later.
    Nothing,
    /// Put plaintext here as far as it fits.
    Read(&'a mut ReadBuf<'b>),
    /// Encrypt, once rustls takes plaintext.
    Write(Sealing<'a>),
}

enum Sealing<'a> {
    Data {
        plain: &'a [u8],
        sealed: &'a mut [u8],
        length: &'a mut usize,
    },
    Goodbye {
        sealed: &'a mut [u8],
        length: &'a mut usize,
    },
}

impl<C: Records> TlsStream<C> {
    pub(super) fn new(socket: TcpStream, connection: C) -> Self {
        Self {
            socket,
            connection,
            incoming: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            plaintext: BytesMut::new(),
            outgoing: Bytes::new(),
            closed: false,
        }
    }

    pub(super) fn state(&self) -> &CommonState {
        self.connection.state()
    }

    /// Shakes hands; afterwards both sides are proven.
    pub(super) async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.process(Want::Nothing) {
                Ok(Step::Again) => continue,
                Ok(Step::Closed) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(Step::Plaintext | Step::Starved | Step::Sealed) => {}
                Err(error) => {
                    self.send_alert(cx);
                    return Poll::Ready(Err(error));
                }
            }
            ready!(self.poll_drain(cx))?;
            if !self.connection.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Looks at the records that are there, one step.
    fn process(&mut self, mut want: Want<'_, '_>) -> io::Result<Step> {
        let status = self.connection.process(&mut self.incoming);
        let mut discard = status.discard;
        let step = match status.state.map_err(invalid) {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut step = Ok(Step::Plaintext);
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            hand_out(record.payload, &mut want, &mut self.plaintext);
                        }
                        Err(error) => {
                            step = Err(invalid(error));
                            break;
                        }
                    }
                }
                step
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let mut encoded = vec![0; CONTROL_RECORD_BYTES];
                if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
                    data.encode(&mut encoded)
                        .map(|length| encoded.truncate(length))
                {
                    encoded.resize(required_size, 0);
                    // Cannot fail: it is as large as was asked for, and encoded for the first time.
                    let length = data.encode(&mut encoded).unwrap_or(0);
                    encoded.truncate(length);
                }
                append(&mut self.outgoing, &encoded);
                Ok(Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is in `outgoing`, which goes out before anything that comes later.
                data.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match want {
                Want::Write(sealing) => sealing.run(&mut traffic).map(|()| Step::Sealed),
                _ => Ok(Step::Starved),
            },
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                self.closed = true;
                Ok(Step::Closed)
            }
            Ok(_) => Ok(Step::Starved),
            Err(error) => Err(error),
        };
        self.incoming.advance(discard);
        step
    }

    /// Reads ciphertext. An error of kind UnexpectedEof: the peer went without a word.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.incoming.is_empty() {
            // No buffer for a read that would find nothing.
            if self.socket.poll_read_ready(cx)?.is_pending() {
                self.incoming = BytesMut::new();
                return Poll::Pending;
            }
        }
        self.incoming.reserve(self.read_bytes);
        let socket = Pin::new(&mut self.socket);
        let length = match poll_read_buf(socket, cx, &mut self.incoming) {
            Poll::Ready(length) => length?,
            Poll::Pending => {
                if self.incoming.is_empty() {
                    self.incoming = BytesMut::new();
                }
                return Poll::Pending;
            }
        };
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if length >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if length < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let socket = Pin::new(&mut self.socket);
            let length = ready!(socket.poll_write(cx, &self.outgoing))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(length);
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the peer what was wrong with it, as far as the socket takes it now.
    fn send_alert(&mut self, cx: &mut Context<'_>) {
        // Once: the alert comes before the records, and those must not be looked at again.
        let _ = self.process(Want::Nothing);
        let _ = self.poll_drain(cx);
    }

    /// Encrypts as much of `slices` as fits and hands it to the socket; returns how much.
    fn seal_and_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        SEALED.with_borrow_mut(|sealed| {
            let (taken, length) = self.seal(slices, sealed)?;
            let mut rest = &sealed[..length];
            while !rest.is_empty() {
                match Pin::new(&mut self.socket).poll_write(cx, rest) {
                    Poll::Ready(Ok(written)) => rest = &rest[written..],
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => {
                        self.outgoing = Bytes::copy_from_slice(rest);
                        break;
                    }
                }
            }
            Ok(taken)
        })
    }

    /// Returns how much plaintext was taken and how much ciphertext came of it.
    fn seal(&mut self, slices: &[IoSlice<'_>], sealed: &mut [u8]) -> io::Result<(usize, usize)> {
        let (mut taken, mut length) = (0, 0);
        for slice in slices {
            let part = &slice[..slice.len().min(ENCRYPTED_BYTES_MAX - taken)];
            if part.is_empty() {
                continue;
            }
            let mut sealed_now = 0;
            self.write(Sealing::Data {
                plain: part,
                sealed: &mut sealed[length..],
                length: &mut sealed_now,
            })?;
            length += sealed_now;
            taken += part.len();
        }
        Ok((taken, length))
    }

    /// Encrypts. Records that wait are looked at first: they may be about the keys.
    fn write(&mut self, sealing: Sealing<'_>) -> io::Result<()> {
        while let Step::Again | Step::Plaintext = self.process(Want::Nothing)? {}
        match self.process(Want::Write(sealing))? {
            Step::Sealed => Ok(()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Sealing<'_> {
    fn run<D>(self, traffic: &mut WriteTraffic<'_, D>) -> io::Result<()> {
        match self {
            Self::Data {
                plain,
                sealed,
                length,
            } => {
                *length = traffic.encrypt(plain, sealed).map_err(io::Error::other)?;
            }
            Self::Goodbye { sealed, length } => {
                *length = traffic
                    .queue_close_notify(sealed)
                    .map_err(io::Error::other)?;
            }
        }
        Ok(())
    }
}

/// To whoever reads, as far as it fits; the rest is kept.
fn hand_out(payload: &[u8], want: &mut Want<'_, '_>, kept: &mut BytesMut) {
    match want {
        Want::Read(out) => {
            let (now, later) = payload.split_at(payload.len().min(out.remaining()));
            out.put_slice(now);
            kept.extend_from_slice(later);
        }
        _ => kept.extend_from_slice(payload),
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn append(outgoing: &mut Bytes, more: &[u8]) {
    let mut joined = BytesMut::from(&outgoing[..]);
    joined.extend_from_slice(more);
    *outgoing = joined.freeze();
}

impl<C: Records> AsyncRead for TlsStream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.plaintext.is_empty() {
            let length = this.plaintext.len().min(out.remaining());
            out.put_slice(&this.plaintext[..length]);
            this.plaintext.advance(length);
            if this.plaintext.is_empty() {
                this.plaintext = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        loop {
            if this.closed {
                return Poll::Ready(Ok(()));
            }
            match this.process(Want::Read(out)) {
                // As many records as there is room for, then one that may not fit whole.
                Ok(Step::Plaintext) if out.remaining() > 0 => continue,
                Ok(Step::Again) => continue,
                Ok(Step::Plaintext) => {}
                Ok(Step::Closed) => return Poll::Ready(Ok(())),
                Ok(Step::Starved) if out.filled().len() == before => {
                    // What the records asked for (new keys) goes out with the next write at the
                    // latest.
                    if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
                        return Poll::Ready(Err(error));
                    }
                    ready!(this.poll_fill(cx))?;
                    continue;
                }
                Ok(Step::Starved | Step::Sealed) => {}
                Err(error) => {
                    this.send_alert(cx);
                    return Poll::Ready(Err(error));
                }
            }
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<C: Records> AsyncWrite for TlsStream<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Poll::Ready(this.seal_and_write(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let (mut sealed, mut length) = ([0; CONTROL_RECORD_BYTES], 0);
        // Once only: afterwards rustls takes no more traffic, and says so.
        let said = this.write(Sealing::Goodbye {
            sealed: &mut sealed,
            length: &mut length,
        });
        if said.is_ok() {
            append(&mut this.outgoing, &sealed[..length]);
            ready!(this.poll_drain(cx))?;
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
