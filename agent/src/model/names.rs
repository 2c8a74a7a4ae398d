//! Names of Kubernetes objects.

use std::{fmt, sync::Arc};

use imbl::OrdMap;

/// The end of services' names in DNS: `web.shop.svc.cluster.local`.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// `namespace/name` of an object. Cluster-scoped objects have an empty namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// The entries of one namespace, which are one range of an ordered map.
pub(super) fn of_namespace<'a, V: Clone>(
    map: &'a OrdMap<ObjectName, V>,
    namespace: &'a Arc<str>,
) -> impl Iterator<Item = (&'a ObjectName, &'a V)> {
    let first = ObjectName::new(Arc::clone(namespace), "");
    map.range(first..)
        .take_while(move |(name, _)| name.namespace == *namespace)
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
