//! The validation of a running agent, offline: for `weir validate DIR` and CI of manifests.

use std::{collections::BTreeMap, io, path::Path};

use super::{Problem, files, parse::IdleKind};
use crate::model::resource::Kind;

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
}

/// Reads `dir` once, as an agent would at its start.
///
/// # Errors
/// When `dir` cannot be read at all. Files in it that cannot are problems of the report.
pub fn folder(dir: &Path) -> io::Result<Report> {
    std::fs::read_dir(dir)?;
    let (census, problems) = files::once(dir);
    Ok(Report {
        problems,
        objects: census.objects,
        idle: census.idle,
        foreign: census.foreign,
    })
}

#[cfg(test)]
mod tests;
