//! Settings of the whole mesh (`MeshConfig`).

use std::{sync::Arc, time::SystemTime};

/// `MeshConfig` of `weir.dev/v1alpha1`: one in the mesh; the oldest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    pub created: Option<SystemTime>,
    /// `spec.rootNamespace`: policies there act on every namespace. Default `weir-system`.
    pub root_namespace: Arc<str>,
    /// `spec.trustDomainAliases`: further trust domains whose identities are accepted.
    pub trust_domain_aliases: Vec<Arc<str>>,
    pub access_log: AccessLog,
}

/// `spec.accessLog`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    pub mode: AccessLogMode,
    pub format: AccessLogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogMode {
    #[default]
    Off,
    /// Only connections that did not end well.
    Errors,
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    #[default]
    Json,
    Text,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            created: None,
            root_namespace: "weir-system".into(),
            trust_domain_aliases: Vec::new(),
            access_log: AccessLog::default(),
        }
    }
}
