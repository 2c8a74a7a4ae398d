//! Weir: a node's share of a service mesh, without sidecars.
//!
//! `app` wires what the other modules offer; `cargo xtask layers` keeps who may import whom.

pub mod datapath;
pub mod identity;
pub mod model;
pub mod proxy;
pub mod sources;
pub mod telemetry;
pub mod transport;
