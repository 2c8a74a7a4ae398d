//! Fuzz targets: hostile input for what reads bytes of clients, and for what reads manifests.
//!
//! An ordinary `cargo test` runs each for a bounded time on random input; `docs/fuzzing.md` says how
//! to run one for longer, or under a fuzzer that is led by coverage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod connection;
mod detection;
mod headers;
mod input;
mod manifests;
mod modifiers;
#[path = "../node/mod.rs"]
mod node;
mod routing;
