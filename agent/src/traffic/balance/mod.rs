//! Which endpoint of a backend a request goes to: each algorithm, and what weighs in each.

pub mod ewma;
pub mod hash_key;
pub mod least_request;
pub mod locality;
pub mod maglev;
mod order;
pub mod random;
pub mod ring_hash;
pub mod round_robin;
pub mod slow_start;
#[cfg(test)]
mod testing;
pub mod weights;
