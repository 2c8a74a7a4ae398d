//! What `connections` of a TrafficPolicy means for one upstream connection.

use std::sync::Arc;

use crate::proxy::services::{Inside, Live, View};

/// A connection that its service's `connections` bound.
pub(super) struct Bound {
    live: Arc<Live>,
    inside: Inside,
    requests_max: Option<u32>,
}

impl Bound {
    pub(super) fn new(view: &View, inside: Inside) -> Self {
        Self {
            live: Arc::clone(&view.live),
            inside,
            requests_max: view.policy.connections.requests_per_connection,
        }
    }

    /// What stays with the connection, and what with its requests.
    pub(super) fn split(bound: Option<Self>) -> (Option<Inside>, Uses) {
        match bound {
            None => (None, Uses::default()),
            Some(bound) => {
                let uses = Uses {
                    live: Some(bound.live),
                    left: bound.requests_max,
                };
                (Some(bound.inside), uses)
            }
        }
    }
}

/// What a connection may still be used for.
#[derive(Default)]
pub(super) struct Uses {
    live: Option<Arc<Live>>,
    /// Requests; `None`: any number.
    left: Option<u32>,
}

impl Uses {
    pub(super) fn used(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.left == Some(0)
    }

    /// Somebody waits for a place that this connection takes.
    pub(super) fn is_wanted(&self) -> bool {
        let live = self.live.as_ref();
        live.is_some_and(|live| live.connections.waiting() > 0)
    }
}
