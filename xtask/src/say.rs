//! What a command tells the person who waits for it: short lines, with the time that each step took.

use std::fmt::Display;
use std::time::Instant;

/// A step that is under way.
pub(crate) struct Step {
    started: Instant,
}

impl Step {
    /// Starts a step that says by itself what it does, or is over before anyone would ask.
    pub(crate) fn quiet() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Starts a step that takes long enough to be announced.
    pub(crate) fn start(what: impl Display) -> Self {
        say(what);
        Self::quiet()
    }

    pub(crate) fn done(self, what: impl Display) {
        println!("▸ {what} ({:.1} s)", self.seconds());
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

pub(crate) fn say(what: impl Display) {
    println!("▸ {what}");
}
