//! One file: what it offers, what is wrong with it, what it keeps of what it had.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use super::{Census, claims::Claims};
use crate::{
    model::{
        names::ObjectName,
        resource::{Resource, ResourceKey},
    },
    sources::{
        Problem, Reason,
        files::read::{Document, Item},
        parse::{IdleKind, ObjectRef, Rejected},
    },
};

/// A file as it was last read.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// Of the last text that could be parsed.
    documents: Vec<Document>,
    /// Why the text of now cannot, and the document to blame.
    failure: Option<(Option<usize>, Reason)>,
    /// What counts in place of rejected objects: their last good versions, or what closes.
    kept: Vec<(ResourceKey, Resource)>,
    /// Objects that an earlier document of the file has too: the number of each.
    twice: HashMap<usize, Vec<ResourceKey>>,
}

/// What runs while some files change.
#[derive(Clone, Copy)]
pub(super) struct Running<'a> {
    pub(super) claims: &'a Claims,
    pub(super) changing: &'a BTreeSet<Arc<Path>>,
    /// Objects that the changing files have.
    pub(super) staying: &'a HashSet<ResourceKey>,
}

impl<'a> Running<'a> {
    /// What runs now, whichever file it is from, and no file has any more.
    fn ending(self, key: &ResourceKey) -> Option<&'a Resource> {
        self.claims
            .ending(key, self.changing)
            .filter(|_| !self.staying.contains(key))
    }
}

impl File {
    pub(super) fn new(
        name: &Path,
        documents: Vec<Document>,
        old: Option<&Self>,
        running: Running<'_>,
    ) -> Self {
        let had: HashMap<&ResourceKey, &Resource> =
            old.into_iter().flat_map(Self::offers).collect();
        let mut file = Self {
            documents,
            ..Self::default()
        };
        file.share(running.claims);
        let mut taken = file.find_twice();
        let mut unnamed = false;
        for document in &file.documents {
            for rejected in document.items.iter().filter_map(Item::rejected) {
                unnamed |= rejected.key.is_none();
                let Some(key) = rejected
                    .key
                    .clone()
                    .or_else(|| unnamed_key(rejected, name, document.number))
                else {
                    continue;
                };
                let last_good = || {
                    had.get(&key)
                        .copied()
                        .or_else(|| running.ending(&key))
                        .cloned()
                };
                let stays = rejected
                    .instead
                    .clone()
                    .map(|closed| renamed(closed, &key))
                    .or_else(last_good);
                if let Some(stays) = stays.filter(|_| taken.insert(key.clone())) {
                    file.kept.push((key, stays));
                }
            }
        }
        // A document of which it cannot be told what it is may be any of those that are missing.
        if unnamed {
            let missing = had.iter().filter(|(key, _)| !taken.contains(*key));
            let missing = missing.map(|(key, resource)| ((*key).clone(), (*resource).clone()));
            file.kept.extend(missing);
        }
        file
    }

    /// The same file while its text cannot be parsed.
    pub(super) fn failed(mut self, document: Option<usize>, reason: Reason) -> Self {
        self.failure = Some((document, reason));
        self
    }

    pub(super) fn documents(&self) -> &[Document] {
        &self.documents
    }

    pub(super) fn offers(&self) -> impl Iterator<Item = (&ResourceKey, &Resource)> {
        let objects = self.objects().map(|(_, key, resource)| (key, resource));
        objects.chain(self.kept.iter().map(|(key, resource)| (key, resource)))
    }

    pub(super) fn idle(&self) -> BTreeSet<(IdleKind, ObjectRef)> {
        let items = self.documents.iter().flat_map(|document| &document.items);
        items
            .filter_map(|item| match item {
                Item::Idle(kind, object) => Some((*kind, object.clone())),
                Item::Object(..) | Item::Foreign | Item::Rejected(_) => None,
            })
            .collect()
    }

    pub(super) fn count_others(&self, census: &mut Census) {
        for item in self.documents.iter().flat_map(|document| &document.items) {
            match item {
                Item::Idle(kind, _) => *census.idle.entry(*kind).or_default() += 1,
                Item::Foreign => census.foreign += 1,
                Item::Object(..) | Item::Rejected(_) => {}
            }
        }
    }

    pub(super) fn problems(&self, name: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |document, object: Option<&ObjectRef>, field: &str, reason| {
            problems.push(Problem {
                file: name.to_owned(),
                document,
                object: object.cloned(),
                field: field.to_owned(),
                reason,
            });
        };
        if let Some((document, reason)) = &self.failure {
            add(*document, None, "", reason.clone());
        }
        for document in &self.documents {
            for rejected in document.items.iter().filter_map(Item::rejected) {
                for error in &rejected.errors {
                    let reason = Reason::Field(error.reason.clone());
                    add(
                        Some(document.number),
                        rejected.object.as_ref(),
                        &error.path,
                        reason,
                    );
                }
            }
            for key in self.twice.get(&document.number).into_iter().flatten() {
                let first = Reason::Duplicate {
                    first: "this file".to_owned(),
                };
                add(
                    Some(document.number),
                    Some(&ObjectRef::from(key)),
                    "",
                    first,
                );
            }
        }
        problems
    }

    pub(super) fn problem_with(&self, name: &Path, key: &ResourceKey, reason: Reason) -> Problem {
        Problem {
            file: name.to_owned(),
            document: self
                .objects()
                .find(|(_, other, _)| *other == key)
                .map(|(document, _, _)| document),
            object: Some(ObjectRef::from(key)),
            field: String::new(),
            reason,
        }
    }

    /// How many objects are refused; a file that cannot be parsed counts as one.
    pub(super) fn rejected(&self) -> usize {
        let items = self.documents.iter().flat_map(|document| &document.items);
        let rejected = items.filter(|item| item.rejected().is_some()).count();
        let twice: usize = self.twice.values().map(Vec::len).sum();
        rejected + twice + usize::from(self.failure.is_some())
    }

    /// Valid objects with the numbers of their documents, less those that are there twice.
    fn objects(&self) -> impl Iterator<Item = (usize, &ResourceKey, &Resource)> {
        self.documents.iter().flat_map(|document| {
            let twice = self
                .twice
                .get(&document.number)
                .map(Vec::as_slice)
                .unwrap_or_default();
            document.items.iter().filter_map(move |item| match item {
                Item::Object(key, resource) if !twice.contains(key) => {
                    Some((document.number, key, resource))
                }
                Item::Object(..) | Item::Idle(..) | Item::Foreign | Item::Rejected(_) => None,
            })
        })
    }

    /// Objects that have not changed stay the allocation that the rest of the agent has.
    fn share(&mut self, claims: &Claims) {
        for item in self
            .documents
            .iter_mut()
            .flat_map(|document| &mut document.items)
        {
            if let Item::Object(key, resource) = item
                && let Some(told) = claims.told(key)
                && *told == *resource
            {
                *resource = told.clone();
            }
        }
    }

    /// Gives the objects that the file has.
    fn find_twice(&mut self) -> HashSet<ResourceKey> {
        let mut taken = HashSet::new();
        for document in &self.documents {
            for item in &document.items {
                if let Item::Object(key, _) = item
                    && !taken.insert(key.clone())
                {
                    self.twice
                        .entry(document.number)
                        .or_default()
                        .push(key.clone());
                }
            }
        }
        taken
    }
}

/// The key of what closes in place of a policy without a name.
fn unnamed_key(rejected: &Rejected, file: &Path, document: usize) -> Option<ResourceKey> {
    let Some(Resource::PeerAuthentication(policy)) = &rejected.instead else {
        return None;
    };
    let name = format!("{}#{document}", file.display());
    Some(ResourceKey {
        kind: crate::model::resource::Kind::PeerAuthentication,
        name: ObjectName::new(Arc::clone(&policy.name.namespace), name),
    })
}

/// A policy's own name is that of its key.
fn renamed(resource: Resource, key: &ResourceKey) -> Resource {
    match resource {
        Resource::PeerAuthentication(policy) if policy.name != key.name => {
            let mut policy = Arc::unwrap_or_clone(policy);
            policy.name = key.name.clone();
            Resource::PeerAuthentication(policy.into())
        }
        other => other,
    }
}
