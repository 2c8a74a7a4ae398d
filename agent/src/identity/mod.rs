//! Keys and certificates of the pods on this node.
//!
//! [`ca::EmbeddedCa`] (or later a remote CA behind the same seam) signs; [`store::IdentityStore`]
//! keeps one certificate for each service account in use on the node and renews it in time;
//! [`verify`] decides whom a connection accepts. Private keys stay in memory, and only here.

pub mod ca;
mod error;
mod failure;
mod material;
mod random;
pub mod store;
mod trust;
pub mod verify;

#[cfg(test)]
mod testing;

pub use self::{
    ca::EmbeddedCa,
    error::IdentityError,
    failure::{TlsFailure, describe},
    material::{ALPN_H2, Material},
    store::{IdentityHandle, IdentityStore},
    trust::TrustBundle,
    verify::peer_identity,
};
