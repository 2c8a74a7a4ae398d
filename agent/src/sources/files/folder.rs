//! What the folder's files offer, whose word counts, and what a change of files comes to.

mod claims;
mod file;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use self::{
    claims::Claims,
    file::{File, Running},
};
use super::{
    read::{Content, Document, Hasher, Item},
    settle::Due,
};
use crate::{
    model::resource::{Delta, Kind, ResourceKey},
    sources::{
        Problem, Reason,
        parse::{IdleKind, ObjectRef},
    },
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
        let documents = self
            .files
            .get(file)
            .map(|file| file.documents())
            .unwrap_or_default();
        documents
            .iter()
            .map(|document| (document.hash(), document))
            .collect()
    }

    /// Takes in what the files now have, all of it or, where a file cannot be read, none.
    pub(super) fn update(
        &mut self,
        contents: Vec<(Due, Content)>,
        folder_problem: Option<Problem>,
    ) -> Update {
        let mut update = Update::default();
        let rejected_before = self.rejected();
        let mut concerned: BTreeSet<Arc<Path>> = contents
            .iter()
            .map(|(due, _)| Arc::clone(&due.name))
            .collect();
        let staying = objects(&contents);
        let changing = concerned.clone();
        for (due, content) in contents {
            let running = Running {
                claims: &self.claims,
                changing: &changing,
                staying: &staying,
            };
            let new = self.file(&due.name, content, running);
            self.take(due.name, new, &mut update);
        }
        if self.problem != folder_problem {
            concerned.insert(Arc::from(Path::new("")));
            self.problem = folder_problem;
        }
        let settled = self.claims.settle();
        update.delta.changes = settled.changes;
        concerned.extend(settled.concerned);
        for name in concerned {
            let problems = self.problems_of(&name);
            update.problems.insert(name, problems);
        }
        update.delta.rejected = self.rejected();
        update.changed =
            !update.delta.changes.is_empty() || update.delta.rejected != rejected_before;
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

    /// What `name` is now; `None`: gone.
    fn file(&self, name: &Path, content: Content, running: Running<'_>) -> Option<File> {
        let old = self.files.get(name);
        match content {
            Content::Gone => None,
            Content::Failed(document, reason) => {
                Some(old.cloned().unwrap_or_default().failed(document, reason))
            }
            Content::Documents(documents) => Some(File::new(name, documents, old, running)),
        }
    }

    fn take(&mut self, name: Arc<Path>, new: Option<File>, update: &mut Update) {
        let old = self.files.remove(&name);
        for (key, resource) in new.iter().flat_map(File::offers) {
            self.claims.offer(key, resource, &name);
        }
        let offered: HashSet<&ResourceKey> = new
            .iter()
            .flat_map(File::offers)
            .map(|(key, _)| key)
            .collect();
        for (key, _) in old
            .iter()
            .flat_map(File::offers)
            .filter(|(key, _)| !offered.contains(key))
        {
            self.claims.withdraw(key, &name);
        }
        let idle = new.as_ref().map(File::idle).unwrap_or_default();
        update.idle.insert(Arc::clone(&name), idle);
        if let Some(file) = new {
            self.files.insert(name, file);
        }
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
            file.problem_with(
                name,
                key,
                Reason::Duplicate {
                    first: first.display().to_string(),
                },
            )
        }));
        problems.sort();
        problems
    }

    fn rejected(&self) -> usize {
        let in_files: usize = self.files.values().map(File::rejected).sum();
        in_files + self.claims.lost_count() + usize::from(self.problem.is_some())
    }
}

/// The valid objects of `contents`, where some are not: only then it matters.
fn objects(contents: &[(Due, Content)]) -> HashSet<ResourceKey> {
    let items = || {
        let documents = contents.iter().filter_map(|(_, content)| match content {
            Content::Documents(documents) => Some(documents),
            Content::Gone | Content::Failed(..) => None,
        });
        documents.flatten().flat_map(|document| &document.items)
    };
    if items().all(|item| item.rejected().is_none()) {
        return HashSet::new();
    }
    items()
        .filter_map(|item| match item {
            Item::Object(key, _) => Some(key.clone()),
            Item::Idle(..) | Item::Foreign | Item::Rejected(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
