//! HBONE: TCP over HTTP/2 CONNECT over mutual TLS, as Istio's ambient mode speaks it.

pub mod client;
mod cork;
pub mod forwarded;
pub mod io;
pub mod keepalive;
pub mod pool;
pub mod server;
