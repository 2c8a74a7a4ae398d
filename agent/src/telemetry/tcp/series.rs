//! The counters behind the TCP metrics, and when they come and go.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use super::labels::{CommonLabels, Exposed, Reporter, TrafficLabels};
use crate::{
    model::{names::ObjectName, pod::Workload},
    telemetry::reason::{Reason, ResponseFlags},
};

/// Label sets of TCP traffic, of four to fifteen time series each. Past it, new sets are counted
/// together, with every label `unknown`.
pub const LABEL_SETS_MAX: usize = 10_000;

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
#[derive(Debug)]
pub(super) struct Series {
    labels: TrafficLabels,
    overflow: bool,
    opened: AtomicU64,
    closed: [AtomicU64; ResponseFlags::ALL.len()],
    sent: AtomicU64,
    received: AtomicU64,
    /// Connections that are open now.
    active: AtomicU64,
    /// The pods of one end are gone; the last connection to close takes the series with it.
    retired: AtomicBool,
    /// No longer exposed: whoever cached it asks again.
    detached: AtomicBool,
}

impl Series {
    fn new(labels: TrafficLabels, overflow: bool) -> Self {
        Self {
            labels,
            overflow,
            opened: AtomicU64::default(),
            closed: Default::default(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            active: AtomicU64::default(),
            retired: AtomicBool::default(),
            detached: AtomicBool::default(),
        }
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.overflow
    }

    pub(super) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    pub(super) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    /// Counts a connection, unless the series has been taken away: then `false`.
    ///
    /// Pairs with [`Registry::detach_if_idle`]: in the single order of SeqCst either this sees
    /// `detached`, or that sees `active`. So nothing is counted where nobody looks any more.
    pub(super) fn try_open(&self) -> bool {
        self.active.fetch_add(1, SeqCst);
        if self.detached.load(SeqCst) {
            self.active.fetch_sub(1, SeqCst);
            return false;
        }
        self.opened.fetch_add(1, Relaxed);
        true
    }
}

/// A label set's counters and the pods that they stand for.
#[derive(Debug)]
struct Tracked {
    series: Arc<Series>,
    /// `None`: the end is no pod that the mesh knows, and so cannot go.
    source: Option<HashSet<PodKey>>,
    destination: Option<HashSet<PodKey>>,
}

impl Tracked {
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

/// All label sets of the agent.
pub(crate) struct Registry {
    common: CommonLabels,
    label_sets_max: usize,
    tracked: Mutex<HashMap<TrafficLabels, Tracked>>,
    /// Never retired, since they stand for no pod. In the order of [`Reporter`].
    overflow: [Arc<Series>; 2],
    /// Grows when pods or series went; workers then drop what they cached.
    generation: AtomicU64,
}

impl Registry {
    pub(in crate::telemetry) fn new(
        cluster: Arc<str>,
        cluster_domain: Arc<str>,
        label_sets_max: usize,
    ) -> Self {
        let overflow = |reporter| Arc::new(Series::new(TrafficLabels::overflow(reporter), true));
        Self {
            common: CommonLabels {
                cluster,
                cluster_domain,
            },
            label_sets_max,
            tracked: Mutex::default(),
            overflow: [overflow(Reporter::Source), overflow(Reporter::Destination)],
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// The counters for `labels`, made if they are new. Takes a lock: workers cache the result.
    pub(super) fn resolve(
        &self,
        labels: TrafficLabels,
        source: Option<&Workload>,
        destination: Option<&Workload>,
    ) -> Arc<Series> {
        let mut tracked = self.lock();
        if tracked.len() >= self.label_sets_max && !tracked.contains_key(&labels) {
            return Arc::clone(&self.overflow[labels.reporter as usize]);
        }
        let entry = tracked.entry(labels).or_insert_with_key(|labels| Tracked {
            series: Arc::new(Series::new(labels.clone(), false)),
            source: None,
            destination: None,
        });
        if let Some(workload) = source {
            entry
                .source
                .get_or_insert_default()
                .insert(PodKey::of(workload));
        }
        if let Some(workload) = destination {
            entry
                .destination
                .get_or_insert_default()
                .insert(PodKey::of(workload));
        }
        entry.series.retired.store(false, SeqCst);
        Arc::clone(&entry.series)
    }

    /// Takes away the series of pods that are gone; those with open connections once the last
    /// one closes. Costs time in proportion to the pods that had traffic here.
    pub(in crate::telemetry) fn retain(&self, alive: impl Fn(&PodKey) -> bool) {
        let mut tracked = self.lock();
        let mut pods_gone = 0;
        tracked.retain(|_, entry| {
            if !entry.prune(&alive, &mut pods_gone) {
                return true;
            }
            entry.series.retired.store(true, SeqCst);
            !Self::detach_if_idle(&entry.series)
        });
        if pods_gone > 0 {
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// Counts the end of a connection that [`Series::try_open`] counted.
    pub(super) fn close(&self, series: &Series, reason: Reason) {
        series.closed[reason.flags() as usize].fetch_add(1, Relaxed);
        let last = series.active.fetch_sub(1, SeqCst) == 1;
        if last && series.retired.load(SeqCst) {
            self.remove_retired(series);
        }
    }

    fn remove_retired(&self, series: &Series) {
        let mut tracked = self.lock();
        // Another pod may have revived the label set, or another series may have taken its place.
        let is_current = tracked
            .get(&series.labels)
            .is_some_and(|entry| std::ptr::eq(entry.series.as_ref(), series));
        if is_current && series.retired.load(SeqCst) && Self::detach_if_idle(series) {
            tracked.remove(&series.labels);
            self.generation.fetch_add(1, Relaxed);
        }
    }

    /// See [`Series::try_open`]. Called with the lock held.
    fn detach_if_idle(series: &Series) -> bool {
        series.detached.store(true, SeqCst);
        if series.active.load(SeqCst) == 0 {
            return true;
        }
        series.detached.store(false, SeqCst);
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TrafficLabels, Tracked>> {
        // A panic of another thread leaves the map whole: each change is one insert or remove.
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exposed(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<_> = self
            .lock()
            .values()
            .map(|entry| Arc::clone(&entry.series))
            .collect();
        let used = |series: &&Arc<Series>| series.opened.load(Relaxed) > 0;
        all.extend(self.overflow.iter().filter(used).cloned());
        all
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("label_sets", &self.lock().len())
            .finish_non_exhaustive()
    }
}

impl Collector for Registry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // The lock is held only to list the series, not while they are written.
        let all = self.exposed();
        let mut counter = |name, help, value: &dyn Fn(&Series, ResponseFlags) -> Option<u64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for series in &all {
                for flags in ResponseFlags::ALL {
                    let Some(value) = value(series, flags) else {
                        continue;
                    };
                    let labels = Exposed {
                        common: &self.common,
                        labels: &series.labels,
                        flags,
                    };
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
            Ok::<(), fmt::Error>(())
        };
        let plain =
            |flags, value: &AtomicU64| (flags == ResponseFlags::None).then(|| value.load(Relaxed));
        counter(
            "istio_tcp_connections_opened",
            "TCP connections opened.",
            &|series, flags| plain(flags, &series.opened),
        )?;
        counter(
            "istio_tcp_connections_closed",
            "TCP connections closed, by how they ended.",
            &|series, flags| {
                let count = series.closed[flags as usize].load(Relaxed);
                (count > 0 || flags == ResponseFlags::None).then_some(count)
            },
        )?;
        counter(
            "istio_tcp_sent_bytes",
            "Bytes sent in response: from the destination to the source.",
            &|series, flags| plain(flags, &series.sent),
        )?;
        counter(
            "istio_tcp_received_bytes",
            "Bytes received in request: from the source to the destination.",
            &|series, flags| plain(flags, &series.received),
        )
    }
}
