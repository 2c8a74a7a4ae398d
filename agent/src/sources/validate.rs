//! The validation of a running agent, offline: for `weir validate DIR`, `weir explain --config DIR`
//! and CI of manifests.

use std::{collections::BTreeMap, io, path::Path, sync::Arc, time::Instant};

use super::{Problem, files, parse::IdleKind};
use crate::model::{
    fold::Fold,
    resource::{Delta, Kind},
    snapshot::Snapshot,
    traffic_policy::PolicyConflict,
};

/// What a folder of manifests comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By file and document. Empty: the agent would take all of it.
    pub problems: Vec<Problem>,
    /// How many objects count, by kind.
    pub objects: BTreeMap<Kind, usize>,
    /// Objects that this version does not act upon.
    pub idle: BTreeMap<IdleKind, usize>,
    /// Objects of kinds that are not Weir's business.
    pub foreign: usize,
    /// TrafficPolicies of which only the oldest counts.
    pub conflicts: Vec<Arc<PolicyConflict>>,
}

/// Reads `dir` once, as an agent would at its start.
///
/// # Errors
/// When `dir` cannot be read at all. Files in it that cannot are problems of the report.
pub fn folder(dir: &Path) -> io::Result<Report> {
    std::fs::read_dir(dir)?;
    let files::Once {
        census,
        problems,
        delta,
    } = files::once(dir);
    let snapshot = folded(delta, "cluster.local");
    Ok(Report {
        problems,
        objects: census.objects,
        idle: census.idle,
        foreign: census.foreign,
        conflicts: snapshot.policy_conflicts().values().cloned().collect(),
    })
}

/// What an agent that starts with `dir` would have in force, and what it would complain about.
///
/// # Errors
/// As [`folder`].
pub fn snapshot(dir: &Path, trust_domain: &str) -> io::Result<(Arc<Snapshot>, Vec<Problem>)> {
    std::fs::read_dir(dir)?;
    let files::Once {
        delta, problems, ..
    } = files::once(dir);
    Ok((folded(delta, trust_domain), problems))
}

/// Of no node: no pod is local.
fn folded(delta: Delta, trust_domain: &str) -> Arc<Snapshot> {
    Fold::new(trust_domain, "").apply(delta, Instant::now())
}

#[cfg(test)]
mod tests;
