//! Which endpoint of a backend a request goes to.

pub mod ewma;
pub mod round_robin;
