//! What is held back of bodies on their way, so that they can be sent again or kept: bounded over
//! all requests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::Hub;

/// Of all bodies together. Past it requests are not sent again and answers are not kept.
pub(in crate::proxy) const HELD_BYTES_MAX: usize = 64 << 20;

/// Bytes that one body holds, until it is dropped.
pub(in crate::proxy) struct Held {
    hub: Arc<Hub>,
    bytes: usize,
}

impl Held {
    pub(in crate::proxy) fn new(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::clone(hub),
            bytes: 0,
        }
    }

    /// `false`: so many more are too many.
    pub(in crate::proxy) fn more(&mut self, bytes: usize) -> bool {
        let fits = |held: usize| {
            let held = held.checked_add(bytes)?;
            (held <= HELD_BYTES_MAX).then_some(held)
        };
        let fits = self.held().fetch_update(Relaxed, Relaxed, fits).is_ok();
        if fits {
            self.bytes += bytes;
        } else {
            self.hub.metrics.limit_reached("held_bytes");
        }
        fits
    }

    /// Nothing is held any more.
    pub(in crate::proxy) fn release(&mut self) {
        self.held().fetch_sub(self.bytes, Relaxed);
        self.bytes = 0;
    }

    fn held(&self) -> &AtomicUsize {
        &self.hub.held_bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
