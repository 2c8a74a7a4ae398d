//! A bound on how much is under way at once, with a bounded queue before it.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

/// Counts what is under way and what waits, over all threads. The bounds come with each call: a
/// policy may change them at any time, also for those that wait already.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Gate {
    inside: AtomicU32,
    waiting: AtomicU32,
    /// What [`Gate::enter`] was called with last.
    limit: AtomicU32,
    left: Notify,
}

/// One that is inside, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(in crate::proxy) struct Inside(Arc<Gate>);

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Waiting(Arc<Gate>);

/// As many wait as may.
#[derive(Debug)]
pub(in crate::proxy) struct QueueFull;

impl Gate {
    pub(in crate::proxy) fn inside(&self) -> u32 {
        self.inside.load(Relaxed)
    }

    pub(in crate::proxy) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Goes in where there is room.
    pub(in crate::proxy) fn try_enter(self: &Arc<Self>, limit: u32) -> Option<Inside> {
        counted(&self.inside, limit).then(|| Inside(Arc::clone(self)))
    }

    /// A place in the queue.
    pub(in crate::proxy) fn queue(self: &Arc<Self>, limit: u32) -> Result<Waiting, QueueFull> {
        match counted(&self.waiting, limit) {
            true => Ok(Waiting(Arc::clone(self))),
            false => Err(QueueFull),
        }
    }

    /// Goes in, if need be after the others of the queue.
    pub(in crate::proxy) async fn enter(
        self: &Arc<Self>,
        limit: u32,
        queue: u32,
    ) -> Result<Inside, QueueFull> {
        if self.limit.load(Relaxed) != limit && self.limit.swap(limit, Relaxed) < limit {
            // Those that wait would be woken one by one, and by who leaves alone.
            self.left.notify_waiters();
        }
        if self.waiting() == 0
            && let Some(inside) = self.try_enter(limit)
        {
            return Ok(inside);
        }
        let waiting = self.queue(queue)?;
        loop {
            // Listens first: who leaves between a look and the wait must be heard.
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if let Some(inside) = self.try_enter(self.limit.load(Relaxed)) {
                drop(waiting);
                return Ok(inside);
            }
            left.await;
        }
    }

    /// Completes when somebody may have left since the call.
    pub(in crate::proxy) fn somebody_leaves(&self) -> tokio::sync::futures::Notified<'_> {
        self.left.notified()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Relaxed);
        self.0.left.notify_one();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// One more, unless there are `limit`.
fn counted(count: &AtomicU32, limit: u32) -> bool {
    count
        .fetch_update(Relaxed, Relaxed, |count| {
            (count < limit).then_some(count + 1)
        })
        .is_ok()
}

#[cfg(test)]
mod tests;
