//! The agent's HTTP side: metrics, health and what people look at when something is wrong.
//!
//! Two listeners share the routes. The metrics address is open to the cluster and answers
//! `/metrics`, `/healthz/live` and `/healthz/ready` alone; the admin address, on loopback, answers
//! the rest as well.

mod body;
mod config;
mod explain;
mod routes;
mod server;
mod status;
mod tap;

use std::{fmt, sync::Arc};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

pub use self::{
    body::TAP_DURATION_MAX,
    server::{CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX, serve},
};
use crate::{
    model::{seams::BoxFuture, snapshot::Snapshot, status::ServicesStatus},
    telemetry::Telemetry,
};

/// Which address a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Open to the cluster: metrics and health.
    Metrics,
    /// Loopback: everything.
    Admin,
}

/// Whether the agent may be counted on (`/healthz/ready`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// What is missing, each for a person to read.
    NotReady(Vec<String>),
}

/// Whether the agent works at all (`/healthz/live`). The kubelet restarts one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    Live,
    /// Which event loops do not answer, each for a person to read.
    Stuck(Vec<String>),
}

/// How far the capture of this node's pods is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodCounts {
    /// To be captured.
    pub enrolled: usize,
    /// Of them, those whose capture is proven.
    pub captured: usize,
}

/// What the routes read. Joined in `app`; each closure is called on the control runtime, for one
/// request, and should not block.
pub struct Sources {
    pub telemetry: Telemetry,
    /// The configuration in force.
    pub snapshot: Box<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    /// The capture state of this node's pods, as `enroll` tells it.
    pub pods: Box<dyn Fn() -> Value + Send + Sync>,
    pub pod_counts: Box<dyn Fn() -> PodCounts + Send + Sync>,
    /// How services and their endpoints are, as the data plane sees them.
    pub services: Box<dyn Fn() -> ServicesStatus + Send + Sync>,
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Asks every data-plane event loop for a sign of life. May take as long as it likes: it is
    /// given up after two seconds, which counts as stuck.
    pub liveness: Box<dyn Fn() -> BoxFuture<'static, Liveness> + Send + Sync>,
}

/// The admin API of one agent.
pub struct Admin {
    sources: Sources,
    /// One large answer (metrics, configuration) is written at a time, whoever asks.
    writing: Semaphore,
}

impl Admin {
    pub fn new(sources: Sources) -> Arc<Self> {
        Arc::new(Self {
            sources,
            writing: Semaphore::new(1),
        })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
