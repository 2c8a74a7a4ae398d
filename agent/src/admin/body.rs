//! What an answer carries: all of it at once, or a tap's lines as they come.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::{
    model::seams::BoxFuture,
    telemetry::{TapEvent, TapStream},
};

/// How long a tap may stay open.
pub const TAP_DURATION_MAX: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(super) enum Body {
    /// `None` once it is sent.
    Whole(Option<Bytes>),
    Tap(Box<Tap>),
}

/// Lines without end, until the client has enough or [`TAP_DURATION_MAX`] is over.
pub(super) struct Tap {
    next: BoxFuture<'static, (TapStream, TapEvent)>,
    over: Pin<Box<Sleep>>,
}

impl Body {
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole((!bytes.is_empty()).then(|| bytes.into()))
    }

    pub(super) fn tap(stream: TapStream) -> Self {
        Self::Tap(Box::new(Tap {
            next: next(stream),
            over: Box::pin(sleep(TAP_DURATION_MAX)),
        }))
    }
}

fn next(mut stream: TapStream) -> BoxFuture<'static, (TapStream, TapEvent)> {
    Box::pin(async move {
        let event = stream.next().await;
        (stream, event)
    })
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Tap(tap) => tap
                .poll_line(cx)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Tap(_) => SizeHint::default(),
        }
    }
}

impl Tap {
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.next.as_mut().poll(cx).map(|(stream, event)| {
            self.next = next(stream);
            // Of strings and numbers: it can be written.
            let mut line = serde_json::to_vec(&event).unwrap_or_default();
            line.push(b'\n');
            Some(line.into())
        })
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}
