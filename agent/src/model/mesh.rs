//! Settings of the whole mesh (`MeshConfig`).

mod access_log;
mod tracing;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

pub use self::{
    access_log::{AccessLog, AccessLogField, AccessLogFields, AccessLogFormat, AccessLogMode},
    tracing::{Collector, OtlpProtocol, Tracing},
};

/// `MeshConfig` of `weir.dev/v1alpha1`: one in the mesh; the oldest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    pub created: Option<SystemTime>,
    /// `spec.rootNamespace`: policies there act on every namespace. Default `weir-system`.
    pub root_namespace: Arc<str>,
    /// `spec.trustDomainAliases`: further trust domains whose identities are accepted.
    pub trust_domain_aliases: Vec<Arc<str>>,
    /// `spec.accessLog`.
    pub access_log: AccessLog,
    /// `spec.tracing`. `None`: headers of traces pass as they are.
    pub tracing: Option<Tracing>,
}

/// A setting that namespaces may have their own of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerNamespace<T> {
    pub default: T,
    pub namespaces: BTreeMap<Arc<str>, T>,
}

impl<T> PerNamespace<T> {
    /// What holds in `namespace`; `None` where it is not known.
    pub fn of(&self, namespace: Option<&str>) -> &T {
        let own = namespace.and_then(|namespace| self.namespaces.get(namespace));
        own.unwrap_or(&self.default)
    }

    pub fn any(&self, test: impl Fn(&T) -> bool) -> bool {
        test(&self.default) || self.namespaces.values().any(test)
    }
}

impl<T> From<T> for PerNamespace<T> {
    fn from(default: T) -> Self {
        Self {
            default,
            namespaces: BTreeMap::new(),
        }
    }
}

/// A share of all requests, to the millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    const WHOLE: u32 = 1_000_000;

    /// `None` where it is not between 0 and 100.
    pub fn of_percent(percent: f64) -> Option<Self> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        (0.0..=100.0)
            .contains(&percent)
            .then(|| Self((percent * f64::from(Self::WHOLE) / 100.0).round() as u32))
    }

    pub fn percent(self) -> f64 {
        f64::from(self.0) * 100.0 / f64::from(Self::WHOLE)
    }

    /// Whether one request is in the share; `random` is uniform.
    pub fn takes(self, random: u64) -> bool {
        random % u64::from(Self::WHOLE) < u64::from(self.0)
    }
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            created: None,
            root_namespace: "weir-system".into(),
            trust_domain_aliases: Vec::new(),
            access_log: AccessLog::default(),
            tracing: None,
        }
    }
}

#[cfg(test)]
mod tests;
