//! Pure decisions on a request: no runtime, no clock, no kernel. A feature is one file.
//!
//! Where chance decides, the caller passes 64 random bits; where time does, the time.

pub mod affinity;
pub mod backend;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod cors;
pub mod deadline;
pub mod detect;
pub mod explain;
pub mod fallback;
pub mod fault;
pub mod form;
mod hash;
pub mod health;
pub mod hop;
pub mod matching;
pub mod mirror;
pub mod modify;
mod nanos;
pub mod normalize;
mod random;
pub mod rate_limit;
pub mod redirect;
pub mod request;
pub mod retry;
pub mod rewrite;
pub mod split;
#[cfg(test)]
mod testing;
pub mod token_bucket;
pub mod way;
mod window;
