//! Says once what is wrong, and again only when it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use super::folder::Update;
use crate::{
    model::limits,
    sources::{
        Problem,
        parse::{IdleKind, ObjectRef},
    },
};

/// What has been said, by file.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: BTreeMap<Arc<Path>, BTreeSet<Problem>>,
    idle: BTreeMap<Arc<Path>, BTreeSet<(IdleKind, ObjectRef)>>,
}

impl Report {
    pub(super) fn tell(&mut self, update: &Update) {
        let new = self.news(update);
        for problem in new.iter().take(limits::CONFIG_PROBLEMS_LOGGED_MAX) {
            warn(problem);
        }
        let unsaid = new.len().saturating_sub(limits::CONFIG_PROBLEMS_LOGGED_MAX);
        if unsaid > 0 {
            tracing::warn!(
                unsaid,
                "more of the configuration is refused; `weir validate` lists all of it"
            );
        }
        for (file, idle) in &update.idle {
            let said = self.idle.remove(file).unwrap_or_default();
            idle.difference(&said)
                .for_each(|(kind, object)| note(file, *kind, object));
            if !idle.is_empty() {
                self.idle.insert(Arc::clone(file), idle.clone());
            }
        }
    }

    /// What has not been said yet.
    fn news(&mut self, update: &Update) -> Vec<Problem> {
        let mut new = Vec::new();
        for (file, problems) in &update.problems {
            let said = self.problems.remove(file).unwrap_or_default();
            new.extend(
                problems
                    .iter()
                    .filter(|problem| !said.contains(&problem.identity()))
                    .cloned(),
            );
            if !problems.is_empty() {
                self.problems.insert(
                    Arc::clone(file),
                    problems.iter().map(Problem::identity).collect(),
                );
            } else if !said.is_empty() {
                tracing::info!(file = %file.display(), "the configuration is in order again");
            }
        }
        new
    }
}

fn warn(problem: &Problem) {
    tracing::warn!(
        file = %problem.file.display(),
        document = problem.document,
        object = problem.object.as_ref().map(tracing::field::display),
        field = problem.field,
        reason = %problem.reason,
        "configuration refused"
    );
}

fn note(file: &Path, kind: IdleKind, object: &ObjectRef) {
    if kind.protects() {
        tracing::warn!(
            file = %file.display(), %object,
            "not acted upon by this version: it protects nothing"
        );
    } else {
        tracing::info!(file = %file.display(), %object, "not acted upon by this version");
    }
}

#[cfg(test)]
mod tests;
