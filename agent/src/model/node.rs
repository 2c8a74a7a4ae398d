//! Nodes, as far as the mesh looks at them.

use std::sync::Arc;

/// A Node. It has no namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: Arc<str>,
    /// The label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
}
