//! What happens to a connection.
//!
//! Every data-plane thread has one [`worker::Worker`]: its pods' listeners, its tunnels, its
//! connections. Nothing on the path of a byte is shared with another thread.

mod check;
mod guarded;
pub mod l4;
pub mod l7;
mod pods;
mod registry;
mod services;
mod way;
pub mod worker;

pub use services::Services;
pub use worker::{Command, Shared, Status, Worker};
