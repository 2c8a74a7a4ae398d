//! The harness proven without an agent: pods reach each other, programs do what the scenarios
//! take for granted, the HBONE peers speak HBONE with each other. What fails here says nothing
//! about Weir.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod http;
mod network;
mod peers;
mod programs;
