//! A request's body that can be sent again: what passes is kept, up to a limit.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::Body as _;

use super::body::{Body, BodyError};
use crate::proxy::services::Held;

/// What has passed of a body, and the rest of it.
pub(super) struct Kept {
    body: RefCell<Body>,
    frames: RefCell<Vec<Piece>>,
    bytes: Cell<usize>,
    limit: usize,
    held: RefCell<Held>,
    /// No longer: it was too much, or nobody will ask.
    given_up: Cell<bool>,
    /// How often it was begun. An earlier try's connection may go on asking for it, and would take
    /// from the latest one what it has not seen.
    tries: Cell<u32>,
    /// Of the latest one.
    waker: RefCell<Option<Waker>>,
}

/// Pieces that are kept at most: so many, and one for each [`PIECE_BYTES`] of the limit. Were only
/// bytes counted, a body in pieces of one byte would take a hundred times the limit.
const PIECES: usize = 64;
const PIECE_BYTES: usize = 64;

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    pub(super) fn new(body: Body, limit: usize, held: Held) -> Rc<Self> {
        Rc::new(Self {
            body: RefCell::new(body),
            frames: RefCell::default(),
            bytes: Cell::new(0),
            limit,
            held: RefCell::new(held),
            given_up: Cell::new(false),
            tries: Cell::new(0),
            waker: RefCell::default(),
        })
    }

    /// The body from its beginning. All earlier ones end with an error.
    pub(super) fn body(self: &Rc<Self>) -> Body {
        self.tries.set(self.tries.get() + 1);
        // Who still waits for more of an earlier one is to hear that none comes.
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Body::Replayed(Replayed {
            kept: Rc::clone(self),
            of_try: self.tries.get(),
            next: 0,
        })
    }

    /// Whether all that has passed can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        !self.given_up.get()
    }

    /// What passes from now on will not be sent again.
    pub(super) fn give_up(&self) {
        self.given_up.set(true);
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let (piece, bytes) = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => (Piece::Data(data.clone()), data.len()),
            (None, Some(trailers)) => (Piece::Trailers(trailers.clone()), 0),
            (None, None) => return,
        };
        self.bytes.set(self.bytes.get() + bytes);
        let pieces = self.frames.borrow().len();
        let fits = self.bytes.get() <= self.limit && pieces < PIECES + self.limit / PIECE_BYTES;
        let mut held = self.held.borrow_mut();
        if fits && held.more(bytes) {
            self.frames.borrow_mut().push(piece);
        } else {
            self.give_up();
            self.frames.borrow_mut().clear();
            held.release();
        }
    }
}

/// A body on its way once more.
pub(in crate::proxy) struct Replayed {
    kept: Rc<Kept>,
    /// Of [`Kept::tries`].
    of_try: u32,
    /// Into what was kept; past it the rest comes from the client.
    next: usize,
}

impl Replayed {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.is_latest() {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        let again = self.kept.frames.borrow().get(self.next).cloned();
        if let Some(piece) = again {
            self.next += 1;
            let frame = match piece {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            };
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = Pin::new(&mut *self.kept.body.borrow_mut()).poll_frame(cx);
        if polled.is_pending() {
            *self.kept.waker.borrow_mut() = Some(cx.waker().clone());
        }
        let polled = ready!(polled);
        if let Some(Ok(frame)) = &polled
            && self.kept.is_whole()
        {
            self.kept.keep(frame);
            self.next = self.kept.frames.borrow().len();
        }
        Poll::Ready(polled)
    }

    fn is_latest(&self) -> bool {
        self.of_try == self.kept.tries.get()
    }

    /// An earlier try's is never at its end: it was cut off, and the peer must not take it for whole.
    pub(super) fn is_end_stream(&self) -> bool {
        self.is_latest()
            && self.next >= self.kept.frames.borrow().len()
            && self.kept.body.borrow().is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let frames = self.kept.frames.borrow();
        let left = frames.get(self.next..).unwrap_or_default().iter();
        let left: u64 = left
            .map(|piece| match piece {
                Piece::Data(data) => data.len() as u64,
                Piece::Trailers(_) => 0,
            })
            .sum();
        let rest = self.kept.body.borrow().size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(left + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(left + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests;
