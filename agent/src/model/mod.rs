//! Pure data: what the mesh consists of. No I/O, no clock, no kernel.
//!
//! [`resource`] holds validated objects as their authors wrote them; [`fold`] turns a stream of
//! [`resource::Delta`]s into immutable [`snapshot::Snapshot`]s that the data plane reads.

pub mod duration;
pub mod fold;
pub mod limits;
pub mod mesh;
pub mod names;
pub mod node;
pub mod pod;
pub mod policy;
pub mod protocol;
pub mod resource;
pub mod route;
pub mod seams;
pub mod service;
pub mod snapshot;
pub mod spiffe;
pub mod status;
pub mod traffic_policy;
