//! What the folder's files offer, whose word counts, and what a change of files comes to.

mod claims;
mod file;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use self::{claims::Claims, file::File};
use super::{
    read::{Content, Document, Hasher},
    settle::Due,
};
use crate::{
    model::resource::{Change, Delta, Kind, ResourceKey},
    sources::{Problem, Reason, parse::{IdleKind, ObjectRef}},
};

/// All files as they were last read.
#[derive(Debug, Default)]
pub(super) struct Folder {
    hasher: Hasher,
    files: BTreeMap<Arc<Path>, File>,
    claims: Claims,
    problem: Option<Problem>,
}

/// What taking in some files has come to.
#[derive(Debug, Default)]
pub(super) struct Update {
    pub(super) delta: Delta,
    /// Whether `delta` says anything new.
    pub(super) changed: bool,
    /// For each file that was taken in or concerned, and for the folder itself (an empty name):
    /// all that is wrong with it now.
    pub(super) problems: BTreeMap<Arc<Path>, Vec<Problem>>,
    /// For each file that was taken in: its objects that this version does not act upon.
    pub(super) idle: BTreeMap<Arc<Path>, BTreeSet<(IdleKind, ObjectRef)>>,
}

/// How many objects of which kind a folder has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) objects: BTreeMap<Kind, usize>,
    pub(crate) idle: BTreeMap<IdleKind, usize>,
    pub(crate) foreign: usize,
}

impl Folder {
    pub(super) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The documents that `file` had, by the hash of their text.
    pub(super) fn documents(&self, file: &Path) -> HashMap<u64, &Document> {
        let documents = self.files.get(file).map(|file| file.documents()).unwrap_or_default();
        documents.iter().map(|document| (document.hash(), document)).collect()
    }

    /// Takes in what the files now have, all of it or, where a file cannot be read, none.
    pub(super) fn update(&mut self, contents: Vec<(Due, Content)>, folder_problem: Option<Problem>) -> Update {
        let mut update = Update::default();
        let rejected_before = self.rejected();
        let mut concerned: BTreeSet<Arc<Path>> = contents.iter().map(|(due, _)| Arc::clone(&due.name)).collect();
        for (due, content) in contents {
            self.take(due.name, content, &mut update);
        }
        if self.problem != folder_problem {
            concerned.insert(Arc::from(Path::new("")));
            self.problem = folder_problem;
        }
        update.delta.changes = self.changes(&mut concerned);
        for name in concerned {
            let problems = self.problems_of(&name);
            update.problems.insert(name, problems);
        }
        update.delta.rejected = self.rejected();
        update.changed = !update.delta.changes.is_empty() || update.delta.rejected != rejected_before;
        update
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for key in self.claims.keys() {
            *census.objects.entry(key.kind).or_default() += 1;
        }
        for file in self.files.values() {
            file.count_others(&mut census);
        }
        census
    }

    fn take(&mut self, name: Arc<Path>, content: Content, update: &mut Update) {
        let old = self.files.remove(&name);
        let new = match content {
            Content::Gone => None,
            Content::Failed(document, reason) => Some(old.clone().unwrap_or_default().failed(document, reason)),
            Content::Documents(documents) => Some(File::new(&name, documents, old.as_ref(), &self.claims)),
        };
        // Offers first: an object that moved from file to file is never gone in between.
        if let Some(file) = &new {
            file.offers().for_each(|(key, resource)| self.claims.offer(key, resource, &name));
        }
        let offered: BTreeSet<&ResourceKey> = new.iter().flat_map(File::offers).map(|(key, _)| key).collect();
        for (key, _) in old.iter().flat_map(File::offers).filter(|(key, _)| !offered.contains(key)) {
            self.claims.withdraw(key, &name);
        }
        let idle = new.as_ref().map(File::idle).unwrap_or_default();
        update.idle.insert(Arc::clone(&name), idle);
        if let Some(file) = new {
            self.files.insert(name, file);
        }
    }

    /// Removals first, then the rest in the order of the files. Files whose objects another file
    /// has too are `concerned`.
    fn changes(&mut self, concerned: &mut BTreeSet<Arc<Path>>) -> Vec<Change> {
        let (files, claims) = (&self.files, &mut self.claims);
        let settled = claims.settle(|name, key| files.get(name).and_then(|file| file.offer(key)));
        concerned.extend(settled.concerned);
        settled.changes
    }

    fn problems_of(&self, name: &Arc<Path>) -> Vec<Problem> {
        if name.as_os_str().is_empty() {
            return self.problem.iter().cloned().collect();
        }
        let Some(file) = self.files.get(name) else {
            return Vec::new();
        };
        let mut problems = file.problems(name);
        problems.extend(self.claims.lost(name).map(|(key, first)| {
            file.problem_with(name, key, Reason::Duplicate { first: first.display().to_string() })
        }));
        problems.sort();
        problems
    }

    fn rejected(&self) -> usize {
        let in_files: usize = self.files.values().map(File::rejected).sum();
        in_files + self.claims.lost_count() + usize::from(self.problem.is_some())
    }
}

#[cfg(test)]
mod tests;
