//! HTTP requests between two Weir agents (`weir/1`): ordinary streams of the tunnel's connection,
//! beside CONNECT. The body of either side is pumped through here.

use std::{error::Error as StdError, future::poll_fn};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http_body::Body;
use thiserror::Error;

use super::client::{Held, TunnelError, refused_after_handshake};
use crate::telemetry::{Metrics, Reason};

/// A body's last piece of this size goes out with the end of the stream, whatever the window: it
/// waits in h2, and nothing comes after it.
const LAST_PIECE_BYTES_MAX: usize = 16 << 10;

/// A request that was sent: its answer to come, and where its body goes.
pub struct Exchange {
    pub response: ResponseFuture,
    pub send: SendStream<Bytes>,
    /// To be kept as long as the stream is in use.
    pub held: Held,
}

/// Why a request did not get its answer.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The peer refused the connection's certificate: nothing was processed.
    #[error(transparent)]
    Tunnel(TunnelError),
    #[error("HTTP/2 to the peer's agent: {0}")]
    Http2(#[source] h2::Error),
}

impl RequestError {
    pub fn of(error: h2::Error, metrics: &Metrics) -> Self {
        if error.is_io() {
            if let refused @ TunnelError::Tls(_) = refused_after_handshake(&error, metrics) {
                return Self::Tunnel(refused);
            }
        }
        Self::Http2(error)
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Tunnel(error) => error.reason(),
            Self::Http2(error) if is_of_the_app(error) => Reason::UpstreamReset,
            Self::Http2(_) => Reason::TunnelReset,
        }
    }

    /// The peer has said that it did not look at the request (RFC 9113 §8.7).
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::Tunnel(_) => true,
            Self::Http2(error) => error.reason() == Some(h2::Reason::REFUSED_STREAM),
        }
    }
}

/// The stream alone was reset, by the peer: what its application did.
fn is_of_the_app(error: &h2::Error) -> bool {
    error.is_reset() && error.is_remote()
}

/// Why a body stopped before its end.
#[derive(Debug, Error)]
pub enum PumpError {
    #[error("the body ended early: {0}")]
    Body(Box<dyn StdError + Send + Sync>),
    #[error("the peer takes no more of the body: {0}")]
    Stream(h2::Error),
    #[error("the peer takes no more of the body")]
    Closed,
}

/// Sends the whole of `body`, as fast as the peer takes it. A body that breaks resets the stream.
///
/// # Errors
/// When either end breaks.
pub async fn pump<B>(body: B, mut send: SendStream<Bytes>) -> Result<(), PumpError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    loop {
        let frame = tokio::select! {
            frame = poll_fn(|cx| body.as_mut().poll_frame(cx)) => frame,
            reset = poll_fn(|cx| send.poll_reset(cx)) => {
                return Err(reset.map_or_else(PumpError::Stream, |reason| PumpError::Stream(reason.into())));
            }
        };
        match frame {
            None => return finish(&mut send, Bytes::new()),
            Some(Err(error)) => {
                send.send_reset(h2::Reason::CANCEL);
                return Err(PumpError::Body(error.into()));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if body.is_end_stream() && data.len() <= LAST_PIECE_BYTES_MAX {
                        return finish(&mut send, data);
                    }
                    send_piecemeal(&mut send, data).await?;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return send.send_trailers(trailers).map_err(PumpError::Stream);
                    }
                }
            },
        }
    }
}

fn finish(send: &mut SendStream<Bytes>, data: Bytes) -> Result<(), PumpError> {
    send.send_data(data, true).map_err(PumpError::Stream)
}

/// No more than flow control has room for: what is queued in h2 has no bound of its own.
async fn send_piecemeal(send: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), PumpError> {
    while data.has_remaining() {
        send.reserve_capacity(data.len());
        while send.capacity() == 0 {
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(PumpError::Stream(error)),
                None => return Err(PumpError::Closed),
            }
        }
        let length = data.len().min(send.capacity());
        let piece = data.split_to(length);
        send.send_data(piece, false).map_err(PumpError::Stream)?;
    }
    Ok(())
}

/// Received data, with the window opened as far as it was taken.
pub fn take(recv: &mut RecvStream, data: &Bytes) {
    let _ = recv.flow_control().release_capacity(data.len());
}
