//! Weir: a node's share of a service mesh, without sidecars.
//!
//! `app` wires what the other modules offer; `cargo xtask layers` keeps who may import whom.

pub mod admin;
pub mod app;
pub mod cli;
pub mod datapath;
pub mod enroll;
pub mod identity;
pub mod model;
pub mod proxy;
pub mod settings;
pub mod sources;
pub mod telemetry;
pub mod traffic;
pub mod transport;
