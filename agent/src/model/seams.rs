//! The seams between modules, joined only in `app`.

use std::{
    io,
    net::SocketAddr,
    os::fd::BorrowedFd,
    time::{Instant, SystemTime},
};

use super::resource::Delta;

/// Takes the changes of a source, in order. `false`: nobody listens any more, stop.
pub trait DeltaSink: Send {
    fn send(&mut self, delta: Delta) -> bool;
}

/// Where the model comes from. Runs on a thread of its own until the sink says stop.
pub trait Source: Send {
    fn run(self: Box<Self>, sink: Box<dyn DeltaSink>);
}

/// What a connection that the kernel handed to the agent was meant for.
pub trait OriginalDst {
    /// `socket` has been accepted on a captured pod's outbound listener.
    ///
    /// # Errors
    /// When the kernel knows of no original destination: nobody dialled through the hook.
    fn original_dst(&self, socket: BorrowedFd<'_>) -> io::Result<SocketAddr>;
}

/// Time, passed in so that logic can be tested with a stepped clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Instant;
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
