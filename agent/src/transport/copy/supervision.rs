//! What a connection's thread may do to it while it is copied.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{telemetry::Reason, transport::limits::IDLE_TIMEOUT};

/// What others may do to a connection while it is copied, and what they see of it.
///
/// A waiting connection has no timer of its own: its thread sweeps over all of them.
#[derive(Debug)]
pub struct Supervision {
    /// The thread's coarse clock, in ticks.
    clock: Rc<Cell<u32>>,
    active_at: Cell<u32>,
    /// Ticks without a byte after which it is ended; `None`: what holds for all.
    idle_limit: Cell<Option<u32>>,
    half_closed: Cell<bool>,
    /// Since when a request's head has been coming in.
    head_since: Cell<Option<u32>>,
    ended: Cell<Option<Reason>>,
    waker: RefCell<Option<Waker>>,
}

impl Supervision {
    pub fn new(clock: Rc<Cell<u32>>) -> Self {
        Self {
            active_at: Cell::new(clock.get()),
            clock,
            idle_limit: Cell::new(None),
            half_closed: Cell::new(false),
            head_since: Cell::new(None),
            ended: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// Ends the connection with resets on both sides.
    pub fn end(&self, reason: Reason) {
        if self.ended.get().is_none() {
            self.ended.set(Some(reason));
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Ticks without a byte.
    pub fn idle_ticks(&self) -> u32 {
        self.clock.get().wrapping_sub(self.active_at.get())
    }

    /// How long it may be idle instead of [`IDLE_TIMEOUT`], at most two ticks longer; zero is for
    /// ever.
    pub fn set_idle_limit(&self, limit: Option<Duration>) {
        let ticks = limit.map(|limit| match limit {
            Duration::ZERO => u32::MAX,
            // The tick that it begins in is not a whole one.
            limit => u32::try_from(limit.as_millis().div_ceil(1000) + 1).unwrap_or(u32::MAX),
        });
        self.idle_limit.set(ticks);
    }

    pub fn is_idle_too_long(&self) -> bool {
        let limit = u32::try_from(IDLE_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
        self.idle_ticks() >= self.idle_limit.get().unwrap_or(limit)
    }

    pub fn half_closed(&self) -> bool {
        self.half_closed.get()
    }

    /// Completes when [`Self::end`] is called.
    pub async fn ended(&self) -> Reason {
        poll_fn(|cx| self.poll_ended(cx)).await
    }

    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<Reason> {
        if let Some(reason) = self.ended.get() {
            return Poll::Ready(reason);
        }
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    pub(super) fn set_half_closed(&self, half_closed: bool) {
        self.half_closed.set(half_closed);
    }

    /// The first byte of a request's head has come, or further ones.
    pub fn head_began(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(self.clock.get()));
        }
    }

    pub fn head_ended(&self) {
        self.head_since.set(None);
    }

    /// Ticks since the head began that is still not complete.
    pub fn head_ticks(&self) -> Option<u32> {
        Some(self.clock.get().wrapping_sub(self.head_since.get()?))
    }

    /// A byte has passed.
    pub fn touch(&self) {
        self.active_at.set(self.clock.get());
    }
}
