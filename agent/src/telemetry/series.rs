//! Sets of labels with their counters: how they are found, bounded, and taken away.
//!
//! What is counted is the business of [`crate::telemetry::tcp`] and [`crate::telemetry::http`];
//! here is only what both need. Counters disappear with the pods that they are about.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
};

use hashbrown::Equivalent;

use super::labels::Reporter;
use crate::model::{names::ObjectName, pod::Workload};

/// Label sets that one worker remembers. Past it the worker starts anew.
pub(super) const CACHE_ENTRIES_MAX: usize = 4096;

/// The labels of one metric family, or of several that share them.
pub(super) trait LabelSet: Clone + Eq + Hash {
    type Counters: Counters;

    fn reporter(&self) -> Reporter;

    /// What remains of a label set once there are too many.
    fn overflow(reporter: Reporter) -> Self;
}

pub(super) trait Counters: Default {
    /// Whether anything was counted.
    fn used(&self) -> bool;
}

/// One incarnation of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodKey {
    pub name: ObjectName,
    pub uid: Arc<str>,
}

impl PodKey {
    pub fn of(workload: &Workload) -> Self {
        Self {
            name: workload.pod.name.clone(),
            uid: workload.pod.uid.clone(),
        }
    }
}

/// The counters of one label set. Workers add to them without a lock.
pub(super) struct Series<L: LabelSet> {
    pub(super) labels: L,
    pub(super) counters: L::Counters,
    overflow: bool,
    /// Who holds it now, so that it stays although its pods went.
    holders: AtomicU64,
    /// The pods of one end are gone; the last holder takes the series with it.
    retired: AtomicBool,
    /// No longer exposed: whoever cached it asks again.
    detached: AtomicBool,
}

impl<L: LabelSet> Series<L> {
    fn new(labels: L, overflow: bool) -> Self {
        Self {
            labels,
            counters: L::Counters::default(),
            overflow,
            holders: AtomicU64::default(),
            retired: AtomicBool::default(),
            detached: AtomicBool::default(),
        }
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.overflow
    }

    /// Keeps the series until [`Registry::release`], unless it has been taken away: then `false`.
    ///
    /// Pairs with [`Self::detach_if_idle`]: in the single order of SeqCst either this sees
    /// `detached`, or that sees `holders`. So nothing is counted where nobody looks any more.
    pub(super) fn try_hold(&self) -> bool {
        self.holders.fetch_add(1, SeqCst);
        if self.detached.load(SeqCst) {
            self.holders.fetch_sub(1, SeqCst);
            return false;
        }
        true
    }

    /// See [`Self::try_hold`]. Called with the registry's lock held.
    fn detach_if_idle(&self) -> bool {
        self.detached.store(true, SeqCst);
        if self.holders.load(SeqCst) == 0 {
            return true;
        }
        self.detached.store(false, SeqCst);
        false
    }
}

/// A label set's counters and the pods that they stand for.
struct Tracked<L: LabelSet> {
    series: Arc<Series<L>>,
    /// `None`: the end is no pod that the mesh knows, and so cannot go.
    source: Option<HashSet<PodKey>>,
    destination: Option<HashSet<PodKey>>,
}

impl<L: LabelSet> Tracked<L> {
    fn new(labels: &L) -> Self {
        Self {
            series: Arc::new(Series::new(labels.clone(), false)),
            source: None,
            destination: None,
        }
    }

    /// Forgets pods that are not alive. True if a known end has none left.
    fn prune(&mut self, alive: &impl Fn(&PodKey) -> bool, pods_gone: &mut usize) -> bool {
        let mut ended = false;
        for pods in [&mut self.source, &mut self.destination]
            .into_iter()
            .flatten()
        {
            let before = pods.len();
            pods.retain(alive);
            *pods_gone += before - pods.len();
            ended |= pods.is_empty();
        }
        ended
    }
}

/// The pods that a label set is about, where they are known.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends<'a> {
    pub(super) source: Option<&'a Workload>,
    pub(super) destination: Option<&'a Workload>,
}

/// All label sets of one kind.
pub(super) struct Registry<L: LabelSet> {
    label_sets_max: usize,
    tracked: Mutex<HashMap<L, Tracked<L>>>,
    /// Never retired, since they stand for no pod. In the order of [`Reporter`].
    overflow: [Arc<Series<L>>; 2],
    /// Grows when pods or series went; workers then drop what they cached.
    generation: AtomicU64,
}

impl<L: LabelSet> Registry<L> {
    pub(super) fn new(label_sets_max: usize) -> Self {
        let overflow = |reporter| Arc::new(Series::new(L::overflow(reporter), true));
        Self {
            label_sets_max,
            tracked: Mutex::default(),
            overflow: [overflow(Reporter::Source), overflow(Reporter::Destination)],
            generation: AtomicU64::new(0),
        }
    }

    /// The counters for `labels`, made if they are new. Takes a lock: workers cache the result.
    pub(super) fn resolve(&self, labels: L, ends: Ends<'_>) -> Arc<Series<L>> {
        let mut tracked = self.lock();
        if tracked.len() >= self.label_sets_max && !tracked.contains_key(&labels) {
            return Arc::clone(&self.overflow[labels.reporter() as usize]);
        }
        let entry = tracked.entry(labels).or_insert_with_key(Tracked::new);
        for (pods, workload) in [
            (&mut entry.source, ends.source),
            (&mut entry.destination, ends.destination),
        ] {
            if let Some(workload) = workload {
                pods.get_or_insert_default().insert(PodKey::of(workload));
            }
        }
        entry.series.retired.store(false, SeqCst);
        Arc::clone(&entry.series)
    }

    /// Takes away the series of pods that are gone; those that are held once they are released.
    /// Costs time in proportion to the pods that had traffic here.
    pub(super) fn retain(&self, alive: impl Fn(&PodKey) -> bool) {
        let mut pods_gone = 0;
        self.lock()
            .retain(|_, entry| !entry.prune(&alive, &mut pods_gone) || !Self::retire(entry));
        if pods_gone > 0 {
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// Takes away the series whose labels are not `wanted`.
    pub(super) fn retain_labels(&self, wanted: impl Fn(&L) -> bool) {
        let mut tracked = self.lock();
        let before = tracked.len();
        tracked.retain(|labels, entry| wanted(labels) || !Self::retire(entry));
        if tracked.len() < before {
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// `false`: somebody holds it.
    fn retire(entry: &Tracked<L>) -> bool {
        entry.series.retired.store(true, SeqCst);
        entry.series.detach_if_idle()
    }

    /// Ends what [`Series::try_hold`] began.
    pub(super) fn release(&self, series: &Series<L>) {
        let last = series.holders.fetch_sub(1, SeqCst) == 1;
        if last && series.retired.load(SeqCst) {
            self.remove_retired(series);
        }
    }

    fn remove_retired(&self, series: &Series<L>) {
        let mut tracked = self.lock();
        // Another pod may have revived the label set, or another series may have taken its place.
        let is_current = tracked
            .get(&series.labels)
            .is_some_and(|entry| std::ptr::eq(entry.series.as_ref(), series));
        if is_current && series.retired.load(SeqCst) && series.detach_if_idle() {
            tracked.remove(&series.labels);
            self.generation.fetch_add(1, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<L, Tracked<L>>> {
        // A panic of another thread leaves the map whole: each change is one insert or remove.
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything there is to tell. The lock is held only to list it, not while it is written.
    pub(super) fn exposed(&self) -> Vec<Arc<Series<L>>> {
        let mut all: Vec<_> = self
            .lock()
            .values()
            .map(|entry| Arc::clone(&entry.series))
            .collect();
        let used = |series: &&Arc<Series<L>>| series.counters.used();
        all.extend(self.overflow.iter().filter(used).cloned());
        all
    }
}

/// What one worker remembers of a [`Registry`], so that finding counters takes no lock and hashes
/// no text. `K` finds a label set without building it.
pub(super) struct Cache<K, L: LabelSet> {
    generation: u64,
    series: hashbrown::HashMap<K, Arc<Series<L>>, foldhash::fast::RandomState>,
}

impl<K, L: LabelSet> Default for Cache<K, L> {
    fn default() -> Self {
        Self {
            generation: 0,
            series: hashbrown::HashMap::default(),
        }
    }
}

impl<K: Eq + Hash, L: LabelSet> Cache<K, L> {
    /// What is remembered for `key`. A series of pods that are gone is not found again.
    pub(super) fn get<Q>(&mut self, registry: &Registry<L>, key: &Q) -> Option<&Arc<Series<L>>>
    where
        Q: Hash + Equivalent<K>,
    {
        let generation = registry.generation.load(Relaxed);
        if self.generation != generation || self.series.len() >= CACHE_ENTRIES_MAX {
            self.series.clear();
            self.generation = generation;
        }
        self.series.get(key)
    }

    pub(super) fn insert(&mut self, key: K, series: &Arc<Series<L>>) {
        self.series.insert(key, Arc::clone(series));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }
}
