//! Whose word counts for an object that several files have: the first by name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use crate::model::resource::{Change, Resource, ResourceKey};

/// Who offers which object.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claims: HashMap<ResourceKey, Claim>,
    /// Files that offer what another file's word counts for, and that other file.
    lost: BTreeMap<Arc<Path>, BTreeMap<ResourceKey, Arc<Path>>>,
    /// What has been offered or withdrawn since the last settlement, once each, in order.
    touched: Vec<ResourceKey>,
    is_touched: BTreeSet<ResourceKey>,
}

#[derive(Debug)]
struct Claim {
    /// What the rest of the agent knows.
    told: Option<Resource>,
    /// In the order of the files; the first one's word counts. Nearly always one.
    offers: Vec<(Arc<Path>, Resource)>,
}

/// What the files' offers have come to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) changes: Vec<Change>,
    /// Files that have won or lost against another.
    pub(super) concerned: BTreeSet<Arc<Path>>,
}

impl Claims {
    pub(super) fn keys(&self) -> impl Iterator<Item = &ResourceKey> {
        self.claims.keys()
    }

    /// What runs now, whichever file it is from.
    pub(super) fn told(&self, key: &ResourceKey) -> Option<&Resource> {
        self.claims.get(key)?.told.as_ref()
    }

    /// What runs now and would end, because only files in `changing` have it.
    pub(super) fn ending(
        &self,
        key: &ResourceKey,
        changing: &BTreeSet<Arc<Path>>,
    ) -> Option<&Resource> {
        let claim = self.claims.get(key)?;
        let ending = claim.offers.iter().all(|(file, _)| changing.contains(file));
        claim.told.as_ref().filter(|_| ending)
    }

    /// Objects of `file` that do not count, and the file whose word does.
    pub(super) fn lost(&self, file: &Path) -> impl Iterator<Item = (&ResourceKey, &Arc<Path>)> {
        self.lost.get(file).into_iter().flatten()
    }

    pub(super) fn lost_count(&self) -> usize {
        self.lost.values().map(BTreeMap::len).sum()
    }

    pub(super) fn offer(&mut self, key: &ResourceKey, resource: &Resource, file: &Arc<Path>) {
        let claim = self.claims.entry(key.clone()).or_insert_with(|| Claim {
            told: None,
            offers: Vec::with_capacity(1),
        });
        match claim.offers.binary_search_by(|(other, _)| other.cmp(file)) {
            Ok(at) if claim.offers[at].1 == *resource => return,
            Ok(at) => claim.offers[at].1 = resource.clone(),
            Err(at) => claim
                .offers
                .insert(at, (Arc::clone(file), resource.clone())),
        }
        self.touch(key);
    }

    pub(super) fn withdraw(&mut self, key: &ResourceKey, file: &Path) {
        if let Some(claim) = self.claims.get_mut(key) {
            claim.offers.retain(|(other, _)| &**other != file);
            self.touch(key);
        }
    }

    /// Decides on all that was touched.
    pub(super) fn settle(&mut self) -> Settled {
        let (mut removed, mut upserted) = (Vec::new(), Vec::new());
        let mut settled = Settled::default();
        self.is_touched.clear();
        for key in std::mem::take(&mut self.touched) {
            let Some(claim) = self.claims.get_mut(&key) else {
                continue;
            };
            let now = claim.offers.first().map(|(_, resource)| resource);
            if claim.told.as_ref() != now {
                claim.told = now.cloned();
                match now {
                    Some(resource) => upserted.push(Change::Upsert(key.clone(), resource.clone())),
                    None => removed.push(Change::Remove(key.clone())),
                }
            }
            let files: Vec<Arc<Path>> = claim
                .offers
                .iter()
                .map(|(file, _)| Arc::clone(file))
                .collect();
            if files.is_empty() {
                self.claims.remove(&key);
            }
            settled.concerned.extend(self.note_lost(&key, &files));
        }
        removed.append(&mut upserted);
        settled.changes = removed;
        settled
    }

    /// Gives the files for which something changed by that.
    fn note_lost(&mut self, key: &ResourceKey, files: &[Arc<Path>]) -> Vec<Arc<Path>> {
        let mut concerned = Vec::new();
        let losers = files.get(1..).unwrap_or_default();
        let is_former = |(file, lost): &(&Arc<Path>, &BTreeMap<ResourceKey, _>)| {
            lost.contains_key(key) && !losers.contains(file)
        };
        let former: Vec<Arc<Path>> = self
            .lost
            .iter()
            .filter(is_former)
            .map(|(file, _)| Arc::clone(file))
            .collect();
        for file in former {
            if let Some(lost) = self.lost.get_mut(&file) {
                lost.remove(key);
                if lost.is_empty() {
                    self.lost.remove(&file);
                }
            }
            concerned.push(file);
        }
        for file in losers {
            let lost = self.lost.entry(Arc::clone(file)).or_default();
            if lost
                .insert(key.clone(), Arc::clone(&files[0]))
                .is_none_or(|before| before != files[0])
            {
                concerned.push(Arc::clone(file));
            }
        }
        concerned
    }

    fn touch(&mut self, key: &ResourceKey) {
        if self.is_touched.insert(key.clone()) {
            self.touched.push(key.clone());
        }
    }
}
