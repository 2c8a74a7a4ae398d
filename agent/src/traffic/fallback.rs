//! `fallback`: the latest good answers, kept for the time when a service fails (RFC 9111, RFC 5861).
//!
//! This is no cache: while the service answers, every request goes there. What a cache may do with
//! an answer binds it all the same: [`storable`] says which answers are kept, [`key`] for which
//! requests, [`store`] how many, and [`answer`] what is written on one that is served.

pub mod answer;
mod cache_control;
pub mod key;
pub mod storable;
pub mod store;
