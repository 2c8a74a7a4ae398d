//! Bodies on their way through: one type, whatever they came in by.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::{Body as _, Incoming};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    proxy::services::{Inside, Trial},
    telemetry::{Reason, RequestRecord},
    traffic::breaker::Outcome,
};

use super::{
    balance::InFlight,
    expect::Waiting,
    fallback::Storing,
    mirror::{Mirrored, Mirroring},
    pool::Lease,
    replay::Replayed,
    retry::is_endpoints_fault,
    send,
    serve::Served,
};

/// The body of a request or of an answer.
#[derive(Default)]
pub(in crate::proxy) enum Body {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    /// A request's, whose bytes are counted.
    Counted(Box<Counted>),
    /// A request's, until the application wants it.
    Waiting(Box<Waiting>),
    /// A request's, with its copies for mirrors.
    Mirroring(Box<Mirroring>),
    /// Such a copy.
    Mirrored(Mirrored),
    /// A request's, which may have to be sent again.
    Replayed(Replayed),
    /// An answer's, at whose end the request is over.
    Answer(Box<Answer>),
}

#[derive(Debug, Error)]
pub(in crate::proxy) enum BodyError {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the time for the whole answer is over")]
    TimedOut,
    #[error("the mirror lags too far behind, or the request broke")]
    Lagging,
    #[error("the request is tried anew")]
    Superseded,
}

impl Body {
    /// Without what needs no carrying.
    pub(super) fn of_request(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            Self::Empty
        } else {
            Self::Incoming(incoming)
        }
    }

    pub(super) fn text(text: String) -> Self {
        Self::Full(text.into())
    }

    /// An answer's. Without a body it is over at once.
    pub(super) fn answer(mut answer: Answer) -> Self {
        if answer.body.is_end_stream() {
            answer.end(Reason::Ok, None);
        }
        Self::Answer(Box::new(answer))
    }

    /// Counts what passes; a body that is not there costs nothing.
    pub(super) fn counted(self) -> (Self, Option<Rc<Received>>) {
        if matches!(self, Self::Empty) {
            return (self, None);
        }
        let received = Rc::new(Received::default());
        let counted = Counted {
            body: self,
            received: Rc::clone(&received),
        };
        (Self::Counted(Box::new(counted)), Some(received))
    }
}

pub(in crate::proxy) struct Counted {
    body: Body,
    received: Rc<Received>,
}

/// What has come of a request's body.
#[derive(Default)]
pub(super) struct Received {
    bytes: Cell<u64>,
    broken: Cell<bool>,
}

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The client broke it, by bad framing or by going away: whatever else failed, failed for that.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }
}

/// What an answer's body holds until its end.
pub(in crate::proxy) struct Answer {
    pub(super) body: Body,
    pub(super) record: Option<RequestRecord>,
    /// Bytes of the request's body, which may still be on their way.
    pub(super) received: Option<Rc<Received>>,
    /// When the whole answer must have been passed on, and what it means that it was not.
    pub(super) deadline: Option<(Pin<Box<Sleep>>, Reason)>,
    /// `timeouts.idle`: how long nothing may come.
    pub(super) idle: Option<Idle>,
    /// What the upstream's connection needs to know of the end.
    pub(super) keep: Keep,
    /// The destination's agent answered in the application's place.
    pub(super) failed: Option<Reason>,
    /// Whatever else is to be told of the end by being dropped.
    pub(super) guards: Guards,
}

/// Runs while nothing comes.
pub(super) struct Idle {
    limit: Duration,
    since_last: Pin<Box<Sleep>>,
}

impl Idle {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since_last: Box::pin(sleep(limit)),
        }
    }

    fn is_over(&mut self, nothing_came: bool, cx: &mut Context<'_>) -> bool {
        if nothing_came {
            return self.since_last.as_mut().poll(cx).is_ready();
        }
        self.since_last.as_mut().reset(Instant::now() + self.limit);
        false
    }
}

/// How the answer came, and is kept coming.
#[derive(Default)]
pub(super) enum Keep {
    #[default]
    Nothing,
    /// A pooled connection: back to the pool at the end.
    Lease(Lease),
}

/// Counted as long as the answer goes on.
#[derive(Default)]
pub(super) struct Guards {
    pub(super) _load: Option<InFlight>,
    pub(super) served: Option<Served>,
    pub(super) _under_way: Option<Inside>,
    /// Requests that the pod works on, at the destination.
    pub(super) _concurrent: Vec<Inside>,
    /// The endpoint's breaker hears how the answer ended.
    pub(super) trial: Option<Trial>,
    /// Kept for when the service fails.
    pub(super) storing: Option<Box<Storing>>,
}

impl Answer {
    fn end(&mut self, reason: Reason, detail: Option<String>) {
        if let Some(record) = self.record.take() {
            if let Some(received) = &self.received {
                record.received(received.bytes());
            }
            let reason = self.failed.filter(|_| reason.is_ok()).unwrap_or(reason);
            record.finish(reason, detail.map(Into::into));
        }
        if reason.is_ok()
            && let Keep::Lease(lease) = std::mem::take(&mut self.keep)
        {
            lease.give_back();
        }
        let guards = std::mem::take(&mut self.guards);
        if let Some(trial) = guards.trial {
            end_trial(trial, reason);
        }
        if let Some(storing) = guards.storing.filter(|_| reason.is_ok()) {
            storing.complete();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Pending, Some((sleep, reason))) = (&polled, &mut self.deadline)
            && sleep.as_mut().poll(cx).is_ready()
        {
            let reason = *reason;
            self.end(reason, None);
            self.body = Body::Empty;
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        if let Some(idle) = &mut self.idle
            && idle.is_over(polled.is_pending(), cx)
        {
            self.end(Reason::IdleTimeout, None);
            self.body = Body::Empty;
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        match ready!(polled) {
            None => {
                self.end(Reason::Ok, None);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.end(error.reason(), Some(error.to_string()));
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(frame)) => {
                if let Some(record) = &mut self.record {
                    note(record, &frame);
                }
                if let (Some(trailers), Some(trial)) =
                    (frame.trailers_ref(), &mut self.guards.trial)
                {
                    trial.note_grpc_status(send::grpc_status(trailers));
                }
                if let Some(storing) = &mut self.guards.storing
                    && !storing.keep(&frame)
                {
                    self.guards.storing = None;
                }
                if self.body.is_end_stream() {
                    self.end(Reason::Ok, None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

fn end_trial(trial: Trial, reason: Reason) {
    if reason.is_ok() {
        trial.ended(Outcome::Success);
    } else if is_endpoints_fault(reason) {
        trial.ended(Outcome::Error);
    }
}

fn note(record: &mut RequestRecord, frame: &Frame<Bytes>) {
    if let Some(data) = frame.data_ref() {
        record.sent(data.len() as u64);
    } else if let Some(trailers) = frame.trailers_ref() {
        record.grpc_status_from(trailers);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Nobody wants the rest: the client went away.
        self.end(Reason::DownstreamReset, None);
    }
}

impl BodyError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Http(_) => Reason::UpstreamReset,
            Self::TimedOut => Reason::RequestTimeout,
            Self::Lagging => Reason::LimitReached,
            // Of a request's body alone: nobody hears of that try any more.
            Self::Superseded => Reason::DownstreamReset,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            full @ Self::Full(_) => {
                let Self::Full(bytes) = std::mem::take(full) else {
                    return Poll::Ready(None);
                };
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Counted(counted) => {
                let polled = ready!(Pin::new(&mut counted.body).poll_frame(cx));
                let received = &counted.received;
                match &polled {
                    Some(Ok(frame)) => {
                        let length = frame.data_ref().map_or(0, Bytes::len);
                        received.bytes.set(received.bytes.get() + length as u64);
                    }
                    Some(Err(_)) => received.broken.set(true),
                    None => {}
                }
                Poll::Ready(polled)
            }
            Self::Waiting(body) => body.poll(cx),
            Self::Mirroring(body) => body.poll(cx),
            Self::Mirrored(body) => body.poll(cx),
            Self::Replayed(body) => body.poll(cx),
            Self::Answer(answer) => answer.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(body) => body.is_end_stream(),
            Self::Counted(counted) => counted.body.is_end_stream(),
            Self::Waiting(waiting) => waiting.body().is_end_stream(),
            Self::Mirroring(mirroring) => mirroring.body().is_end_stream(),
            Self::Mirrored(_) => false,
            Self::Replayed(replayed) => replayed.is_end_stream(),
            Self::Answer(answer) => answer.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
            Self::Counted(counted) => counted.body.size_hint(),
            Self::Waiting(waiting) => waiting.body().size_hint(),
            Self::Mirroring(mirroring) => mirroring.body().size_hint(),
            Self::Mirrored(_) => SizeHint::default(),
            Self::Replayed(replayed) => replayed.size_hint(),
            Self::Answer(answer) => answer.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
