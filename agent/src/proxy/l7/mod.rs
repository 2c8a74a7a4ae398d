//! HTTP: what happens to one request.
//!
//! ```text
//! detect           what a connection speaks
//! serve            HTTP/1.1 or HTTP/2 on one connection, request by request
//! pipeline         the source's half: route, split, balance, send
//! inbound          the destination's half: to the application
//! ```

mod answer;
pub(in crate::proxy) mod balance;
mod body;
pub(in crate::proxy) mod check;
pub(in crate::proxy) mod detect;
mod expect;
mod fallback;
mod fault;
pub(in crate::proxy) mod inbound;
mod mirror;
pub(in crate::proxy) mod outbound;
mod outgoing;
mod pipeline;
pub(in crate::proxy) mod pool;
mod replay;
pub(in crate::proxy) mod retry;
mod semantics;
mod send;
pub(in crate::proxy) mod serve;
mod upgrade;
mod upstream;
pub(in crate::proxy) mod wire;

#[cfg(test)]
mod tests;
