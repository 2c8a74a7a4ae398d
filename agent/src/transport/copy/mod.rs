//! Copies bytes both ways until both sides are done, keeping half-close and reset as they are.
//!
//! Memory: each thread reads through one buffer of its own. A connection holds bytes only while
//! the side they go to does not take them, and then no more than one read; a tunnel's stream
//! holds what flow control has let in besides.

mod sockets;
mod supervision;
mod tunnel;

use std::cell::RefCell;

pub use self::{
    sockets::between_sockets,
    supervision::Supervision,
    tunnel::{SocketSide, TunnelIo, with_tunnel},
};
use super::limits::READ_BYTES_MAX;
use crate::telemetry::ConnectionRecord;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// Lends the thread's buffer to `read`, which must not lend it again: polling a socket runs no
/// other task.
fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}

/// Where passed bytes are counted.
pub trait Meter {
    /// From the client to the destination.
    fn received(&self, bytes: u64);
    /// From the destination to the client.
    fn sent(&self, bytes: u64);
}

impl Meter for ConnectionRecord {
    fn received(&self, bytes: u64) {
        Self::received(self, bytes);
    }

    fn sent(&self, bytes: u64) {
        Self::sent(self, bytes);
    }
}

/// Both reporters of a connection that stays on its node.
impl<A: Meter, B: Meter> Meter for (&A, &B) {
    fn received(&self, bytes: u64) {
        self.0.received(bytes);
        self.1.received(bytes);
    }

    fn sent(&self, bytes: u64) {
        self.0.sent(bytes);
        self.1.sent(bytes);
    }
}
