//! Bytes between peers: dialling, TLS, the tunnel, and copying.

pub mod copy;
pub mod dial;
pub mod hbone;
pub mod limits;
pub mod listen;
pub mod tls;
