//! How services are at one moment, for people (`weir status`).

use std::{net::SocketAddr, time::Duration};

use super::names::ObjectName;

/// Transitions of breakers that are remembered, on the whole node.
pub const TRANSITIONS_KEPT_MAX: usize = 64;

/// What the data plane knows of the services that it has had to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicesStatus {
    pub services: Vec<ServiceStatus>,
    /// The last [`TRANSITIONS_KEPT_MAX`], in any order.
    pub transitions: Vec<TransitionStatus>,
}

/// One service: its endpoints, and its pool with the limits of its TrafficPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    pub service: ObjectName,
    pub endpoints: Vec<EndpointStatus>,
    pub requests: u32,
    pub requests_max: u32,
    pub connections: u32,
    pub connections_max: u32,
    pub pending: u32,
    pub pending_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    pub address: SocketAddr,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// How long it has been so.
    pub since: Duration,
    /// While it is open: for how long in all, counted from when it opened.
    pub open_for: Option<Duration>,
    /// False where it fails its health checks.
    pub healthy: bool,
}

/// A breaker changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionStatus {
    pub ago: Duration,
    pub service: ObjectName,
    pub endpoint: SocketAddr,
    /// `from` and `to` are as [`EndpointStatus::breaker`].
    pub from: &'static str,
    pub to: &'static str,
}
