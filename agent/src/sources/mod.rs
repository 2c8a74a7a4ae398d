//! Where the model comes from.
//!
//! [`parse`] turns one Kubernetes object into model types and says, field by field, what is wrong
//! with it; [`files`] reads a folder of manifests and watches it; [`validate`] reads one once.

pub mod files;
pub mod parse;
mod problem;
pub mod validate;

pub use problem::{Problem, Reason};
