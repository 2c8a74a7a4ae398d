//! The answers that are kept for the time when their service fails, of all threads.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderMap;

use crate::{
    model::{names::ObjectName, traffic_policy::FALLBACK_NODE_BYTES_MAX},
    traffic::fallback::{
        key::Key,
        storable::Storable,
        store::{Answer, Owner, Store},
    },
};

/// Pods are spread over them, so that threads seldom meet at a lock. Only requests to services
/// with a `fallback` come here.
const SHARDS: usize = 16;

pub(in crate::proxy) struct Stale {
    shards: [Mutex<Store>; SHARDS],
    hasher: RandomState,
}

impl Default for Stale {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                Mutex::new(Store::new(FALLBACK_NODE_BYTES_MAX / SHARDS))
            }),
            hasher: RandomState::new(),
        }
    }
}

impl Stale {
    fn shard(&self, pod: &str) -> MutexGuard<'_, Store> {
        let at = self.hasher.hash_one(pod) as usize % SHARDS;
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Store>> {
        let shards = self.shards.iter();
        shards.map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(in crate::proxy) fn put(
        &self,
        owner: &Owner<'_>,
        key: Key,
        request: &HeaderMap,
        (storable, answer): (Storable, Answer),
        now: Duration,
    ) {
        let mut store = self.shard(owner.pod);
        store.put(owner, key, request, answer, storable, now);
    }

    pub(in crate::proxy) fn get(
        &self,
        pod: &str,
        key: &Key,
        request: &HeaderMap,
        (now, limit): (Duration, Duration),
    ) -> Option<Answer> {
        self.shard(pod).get(key, request, now, limit)
    }

    pub(in crate::proxy) fn invalidate(&self, pod: &str, key: &Key) {
        self.shard(pod).invalidate(key);
    }

    pub(in crate::proxy) fn flush_service(&self, service: &ObjectName) {
        self.all()
            .for_each(|mut store| store.flush_service(service));
    }

    pub(in crate::proxy) fn flush_pod(&self, pod: &str) {
        self.shard(pod).flush_pod(pod);
    }

    /// Bytes and answers.
    pub(in crate::proxy) fn size(&self) -> (usize, usize) {
        self.all()
            .map(|store| (store.bytes(), store.len()))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}
