//! Simulated nodes and pods for Weir: what the scenarios, the demo and the bench are made of.
//!
//! A [`Mesh`] is a private network: a bridge in a network namespace of its own, nodes in which
//! agents run, pods that are joined to the bridge by veth pairs, and one folder of manifests that
//! all agents watch. Nothing of it has a name in the machine's own network, so any number of
//! meshes can run beside each other. Everything is gone when the [`Mesh`] is dropped, on panic
//! too; what a killed run left is swept by the next.
//!
//! The harness panics when it cannot do what it was asked: a scenario that cannot set up has
//! failed, and says why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness that cannot go on fails the test there and then"
)]

mod agent;
pub mod bpf;
mod ca;
mod cgroup;
#[cfg(feature = "peers")]
pub mod envoy;
mod expect;
mod fabric;
mod grpc;
#[cfg(feature = "peers")]
pub mod hbone;
mod http;
pub mod manifests;
mod mesh;
mod metrics;
mod netns;
mod pod;
mod poll;
mod process;
mod programs;
mod run;
mod service;
mod sniffer;
mod spawner;

pub use agent::{Agent, AgentBuilder, OnExit};
pub use ca::{Ca, TRUST_DOMAIN};
#[cfg(feature = "peers")]
pub use ca::{Identity, Leaf};
pub use expect::MUTUAL_TLS;
pub use grpc::{Call, Calls};
pub use http::{Answer, HttpLoad, LoadReport, Request};
pub use mesh::{Mesh, Node};
pub use metrics::{Metrics, Sample};
pub use netns::{Netns, TcpSocket, TcpState};
pub use pod::{Pod, PodBuilder};
pub use poll::{eventually, never, wait_for};
pub use process::{Exec, Finished, Proc};
pub use programs::{Load, Talk, ip_in};
pub use run::sweep;
pub use service::{ServiceBuilder, ServiceHandle};
pub use sniffer::{Frames, Sniffer};
