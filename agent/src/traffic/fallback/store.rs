//! The answers that are kept, within bounds: of one pod's, and of all.
//!
//! What was neither put nor served for longest goes first, of the pod whose answers are too many,
//! then of all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::{
    answer,
    cache_control::CacheControl,
    key::{Key, Variant},
    storable::{Storable, has_credentials},
};
use crate::model::names::ObjectName;

/// Variants by `Vary` of one key; past it the one goes that was not used for longest.
pub const VARIANTS_MAX: usize = 16;

/// What an answer takes beside its texts and its body, and a header beside name and value; rather
/// too much than too little.
const ANSWER_BYTES: usize = 768;
const HEADER_BYTES: usize = 64;

/// Of an answer: it stays the same while it is used, and is that of no later one.
type Id = u64;

/// Times are since any start that is one for all.
#[derive(Debug)]
pub struct Store {
    bytes_max: usize,
    bytes: usize,
    answers: HashMap<Id, Kept>,
    by_key: HashMap<Arc<Key>, Vec<Id>>,
    by_pod: HashMap<Arc<str>, PodAnswers>,
    /// By when they were used.
    order: BTreeMap<u64, Id>,
    /// Counts puts and uses.
    tick: u64,
}

#[derive(Debug, Default)]
struct PodAnswers {
    bytes: usize,
    order: BTreeMap<u64, Id>,
}

#[derive(Debug)]
struct Kept {
    key: Arc<Key>,
    pod: Arc<str>,
    variant: Variant,
    answer: Answer,
    storable: Storable,
    put_at: Duration,
    bytes: usize,
    used: u64,
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Who kept an answer, and how much he may keep.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// The client pod's `uid`.
    pub pod: &'a Arc<str>,
    /// `fallback.maxBytes` of the policy: of all of this pod's answers together.
    pub bytes_max: usize,
}

impl Store {
    /// `bytes_max`: of all pods together.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            answers: HashMap::new(),
            by_key: HashMap::new(),
            by_pod: HashMap::new(),
            order: BTreeMap::new(),
            tick: 0,
        }
    }

    /// Keeps the answer to a request with these headers, in place of what it was answered with
    /// before. `false`, and nothing is changed, where it is larger than the pod may keep.
    ///
    /// `body` must be of its own: a part of the buffer that it came by would hold on to all of that.
    /// The values of the headers are copied for that reason.
    pub fn put(
        &mut self,
        owner: &Owner<'_>,
        key: Key,
        request: &HeaderMap,
        answer: Answer,
        storable: Storable,
        now: Duration,
    ) -> bool {
        // Before it is copied.
        if answer.body.len() > owner.bytes_max.min(self.bytes_max) {
            return false;
        }
        let variant = Variant::of(&storable.vary, request);
        let answer = Answer {
            headers: answer::kept(answer.headers),
            ..answer
        };
        let bytes = ANSWER_BYTES + key.bytes() + variant.bytes() + answer.bytes();
        if bytes > owner.bytes_max.min(self.bytes_max) {
            return false;
        }
        let key = Arc::new(key);
        for id in self.ids(&key) {
            let same = |kept: &Kept| kept.variant.is_of(request);
            if self.answers.get(&id).is_some_and(same) {
                self.remove(id);
            }
        }
        self.make_room(owner, &key, bytes);
        self.tick += 1;
        let kept = Kept {
            key,
            pod: Arc::clone(owner.pod),
            variant,
            answer,
            storable,
            put_at: now,
            bytes,
            used: self.tick,
        };
        self.insert(self.tick, kept);
        true
    }

    /// The latest answer to such a request, its headers being those of a stale one ([`answer`]).
    /// `limit`: `fallback.staleIfError` of the policy.
    ///
    /// `None` where there is none, where it has been stale for longer than that or than it allows
    /// itself, and where the request does not want it (RFC 9111 §5.2.1) or has credentials and the
    /// answer is not `public`.
    pub fn get(
        &mut self,
        key: &Key,
        request: &HeaderMap,
        now: Duration,
        limit: Duration,
    ) -> Option<Answer> {
        let wanted = CacheControl::of(request);
        let of_request = |id: &&Id| {
            let kept = self.answers.get(*id);
            kept.is_some_and(|kept| kept.variant.is_of(request))
        };
        // Ids ascend: the last one was put last (RFC 9111 §4.1).
        let id = *self.by_key.get(key)?.iter().rfind(of_request)?;
        let kept = self.answers.get_mut(&id)?;
        let age = kept.age(now);
        let barred = has_credentials(request) && !kept.storable.public;
        if barred || !kept.lasts(age, limit) || !kept.is_wanted(age, &wanted) {
            return None;
        }
        let answer = Answer {
            status: kept.answer.status,
            headers: answer::headers(&kept.answer.headers, age),
            body: kept.answer.body.clone(),
        };
        self.touch(id);
        Some(answer)
    }

    /// Forgets what is known of a key's URL, for this caller: it was changed by a request with an
    /// unsafe method (RFC 9111 §4.4), or the caller may no more ask for it.
    pub fn invalidate(&mut self, key: &Key) {
        for method in [Method::GET, Method::HEAD] {
            let key = Key {
                method,
                ..key.clone()
            };
            for id in self.ids(&key) {
                self.remove(id);
            }
        }
    }

    /// Forgets a service's answers: what a policy says of it has changed.
    pub fn flush_service(&mut self, service: &ObjectName) {
        self.remove_where(|kept| kept.key.service == *service);
    }

    /// Forgets what a pod has kept: it is gone.
    pub fn flush_pod(&mut self, pod: &str) {
        let order = self.by_pod.get(pod).map(|of_pod| &of_pod.order);
        let ids: Vec<Id> = order
            .into_iter()
            .flat_map(BTreeMap::values)
            .copied()
            .collect();
        for id in ids {
            self.remove(id);
        }
    }

    pub fn flush_all(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    /// What the answers take, their management included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn make_room(&mut self, owner: &Owner<'_>, key: &Key, bytes: usize) {
        let ids = self.ids(key);
        if ids.len() >= VARIANTS_MAX {
            let used = |id: &&Id| self.answers.get(*id).map(|kept| kept.used);
            if let Some(oldest) = ids.iter().min_by_key(used) {
                self.remove(*oldest);
            }
        }
        loop {
            let of_pod = self.by_pod.get(owner.pod);
            let over = |used: usize, max: usize| used.saturating_add(bytes) > max;
            let oldest = match of_pod {
                Some(of_pod) if over(of_pod.bytes, owner.bytes_max) => &of_pod.order,
                _ if over(self.bytes, self.bytes_max) => &self.order,
                _ => return,
            };
            let Some((_, id)) = oldest.first_key_value() else {
                return;
            };
            self.remove(*id);
        }
    }

    fn insert(&mut self, id: Id, kept: Kept) {
        self.bytes += kept.bytes;
        self.order.insert(kept.used, id);
        let of_pod = self.by_pod.entry(Arc::clone(&kept.pod)).or_default();
        of_pod.bytes += kept.bytes;
        of_pod.order.insert(kept.used, id);
        self.by_key
            .entry(Arc::clone(&kept.key))
            .or_default()
            .push(id);
        self.answers.insert(id, kept);
    }

    fn remove(&mut self, id: Id) {
        let Some(kept) = self.answers.remove(&id) else {
            return;
        };
        self.bytes -= kept.bytes;
        self.order.remove(&kept.used);
        if let Some(of_pod) = self.by_pod.get_mut(&kept.pod) {
            of_pod.bytes -= kept.bytes;
            of_pod.order.remove(&kept.used);
            if of_pod.order.is_empty() {
                self.by_pod.remove(&kept.pod);
            }
        }
        if let Some(ids) = self.by_key.get_mut(&kept.key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(&kept.key);
            }
        }
    }

    fn touch(&mut self, id: Id) {
        let Some(kept) = self.answers.get_mut(&id) else {
            return;
        };
        self.tick += 1;
        let before = std::mem::replace(&mut kept.used, self.tick);
        self.order.remove(&before);
        self.order.insert(self.tick, id);
        if let Some(of_pod) = self.by_pod.get_mut(&kept.pod) {
            of_pod.order.remove(&before);
            of_pod.order.insert(self.tick, id);
        }
    }

    fn remove_where(&mut self, gone: impl Fn(&Kept) -> bool) {
        let all = self.answers.iter();
        let ids: Vec<Id> = all
            .filter(|(_, kept)| gone(kept))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.remove(id);
        }
    }

    fn ids(&self, key: &Key) -> Vec<Id> {
        self.by_key.get(key).cloned().unwrap_or_default()
    }
}

impl Kept {
    /// RFC 9111 §4.2.3.
    fn age(&self, now: Duration) -> Duration {
        let since = now.saturating_sub(self.put_at);
        self.storable.age.saturating_add(since)
    }

    fn lasts(&self, age: Duration, limit: Duration) -> bool {
        let own = self.storable.stale_if_error.unwrap_or(Duration::MAX);
        let stale_for = age.checked_sub(self.storable.fresh_for);
        stale_for.is_none_or(|stale_for| stale_for <= own.min(limit))
    }

    /// RFC 9111 §5.2.1; a request too can say `stale-if-error` (RFC 5861 §4).
    fn is_wanted(&self, age: Duration, wanted: &CacheControl) -> bool {
        let fresh_for = self.storable.fresh_for;
        let stale_for = age.saturating_sub(fresh_for);
        let tolerated = wanted.max_stale.or(wanted.stale_if_error);
        let fresh_enough = wanted
            .min_fresh
            .is_none_or(|min| fresh_for.saturating_sub(age) >= min);
        // Who names an age wants nothing stale, unless he says so.
        let young_enough = wanted
            .max_age
            .is_none_or(|max| age <= max && stale_for <= tolerated.unwrap_or_default());
        let tolerable = tolerated.is_none_or(|tolerated| stale_for <= tolerated);
        let asks_anew = wanted.no_cache || wanted.no_store;
        !asks_anew && fresh_enough && young_enough && tolerable
    }
}

impl Answer {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| HEADER_BYTES + name.as_str().len() + value.len());
        self.body.len() + headers.sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
