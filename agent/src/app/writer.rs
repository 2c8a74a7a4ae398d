//! The one writer: folds changes into snapshots and makes the kernel, the pods and the data plane
//! follow. A thread of its own, since talking to the kernel blocks.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};
use tracing::{debug, error, info, warn};

use super::{
    health::{self, Health},
    workers::{Workers, WorkersSink},
};
use crate::{
    datapath::{Datapath, DatapathError},
    enroll::{Enroll, Stage, StartProbe},
    identity::IdentityStore,
    model::{
        fold::Fold,
        limits::DELTA_QUEUE_MAX,
        names::ObjectName,
        resource::Delta,
        seams::{CaptureId, Clock, DeltaSink, PodNet, ProbeError},
        snapshot::Snapshot,
    },
    proxy::Command,
    telemetry::{PodKey, Telemetry},
};

/// How often it looks around when nothing happens: series of gone pods, successors.
const ROUND: Duration = Duration::from_secs(1);

/// What happens to the writer.
pub(super) enum Event {
    Delta(Delta),
    Probed {
        pod: ObjectName,
        id: CaptureId,
        outcome: Result<(), ProbeError>,
    },
    /// Take no new connections.
    Drain(oneshot::Sender<()>),
    /// Drained: take capture away, if so wished.
    Finish {
        release: bool,
        done: oneshot::Sender<()>,
    },
}

/// Sends to the writer; waits where its queue is full.
#[derive(Clone)]
pub(super) struct EventSender {
    queue: SyncSender<Event>,
    alive: watch::Receiver<()>,
}

/// The writer's end.
pub(super) struct Queue {
    events: Receiver<Event>,
    /// Dropped with the writer, which is how others learn of its end.
    _alive: watch::Sender<()>,
}

pub(super) fn channel() -> (EventSender, Queue) {
    let (queue, events) = sync_channel(DELTA_QUEUE_MAX);
    let (alive_sender, alive) = watch::channel(());
    let queue_end = Queue {
        events,
        _alive: alive_sender,
    };
    (EventSender { queue, alive }, queue_end)
}

impl EventSender {
    /// `false`: the writer is gone.
    pub(super) fn send(&self, event: Event) -> bool {
        self.queue.send(event).is_ok()
    }

    pub(super) async fn writer_gone(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }
}

impl DeltaSink for EventSender {
    fn send(&mut self, delta: Delta) -> bool {
        Self::send(self, Event::Delta(delta))
    }
}

/// Runs probes on threads that may block.
pub(super) fn start_probes(runtime: Handle, events: EventSender) -> StartProbe {
    Box::new(
        move |pod: ObjectName, id: CaptureId, net: Arc<dyn PodNet>| {
            let events = events.clone();
            runtime.spawn_blocking(move || {
                let outcome = net.probe();
                events.send(Event::Probed { pod, id, outcome });
            });
        },
    )
}

pub(super) struct Writer {
    pub(super) fold: Fold,
    pub(super) enroll: Enroll<Datapath, WorkersSink>,
    pub(super) workers: Workers,
    pub(super) identities: Arc<IdentityStore>,
    pub(super) telemetry: Telemetry,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) health: Arc<Health>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    health: health::State,
    strangers_released: bool,
    probe_failures: u64,
    next_round: Option<Instant>,
}

impl Writer {
    pub(super) fn run(mut self, queue: &Queue) {
        let mut due = None;
        loop {
            let now = self.clock.now();
            let round = *self.state.next_round.get_or_insert(now + ROUND);
            let wait = due.map_or(round, |due: Instant| due.min(round));
            match queue
                .events
                .recv_timeout(wait.saturating_duration_since(now))
            {
                Ok(Event::Finish { release, done }) => {
                    self.finish(release);
                    let _ = done.send(());
                    return;
                }
                Ok(event) => self.obey(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.clock.now();
            if !self.state.health.draining && !self.state.health.superseded {
                due = self.enroll.tick(now);
                self.release_strangers();
            }
            if now >= round {
                self.state.next_round = Some(now + ROUND);
                self.look_around();
            }
            self.publish();
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Delta(delta) => self.apply(delta),
            Event::Probed { pod, id, outcome } => {
                self.enroll.probed(&pod, id, outcome, self.clock.now());
            }
            Event::Drain(done) => {
                self.state.health.draining = true;
                self.enroll.refuse_all();
                self.workers.tell(|| Command::Drain);
                let _ = done.send(());
            }
            Event::Finish { .. } => {}
        }
    }

    fn apply(&mut self, delta: Delta) {
        let now = self.clock.now();
        let synced = delta.synced;
        let rejected = delta.rejected;
        let new = self.fold.apply(delta, now);
        let old = self.snapshot.swap(Arc::clone(&new));
        debug!(generation = new.generation, "configuration applied");
        self.telemetry
            .metrics()
            .config_applied(new.generation, rejected, now);
        let conflicts = new.policy_conflicts();
        if !old.policy_conflicts().ptr_eq(conflicts) {
            self.telemetry
                .metrics()
                .set_policy_conflicts(conflicts.len());
            for conflict in new.policy_conflicts_since(&old) {
                warn!("{conflict}");
            }
        }
        if old.mesh != new.mesh {
            self.telemetry.configure(&new.mesh);
            self.identities
                .trust()
                .set_aliases(&new.mesh.trust_domain_aliases);
        }
        if judged_differently(&old, &new) {
            self.workers.tell(|| Command::JudgeAgain);
        }
        if !self.state.health.draining {
            self.follow(&new, now);
        }
        self.state.health.synced |= synced;
    }

    /// The kernel first: what is dialled is known before who dials is captured.
    fn follow(&mut self, snapshot: &Arc<Snapshot>, now: Instant) {
        self.follow_destinations(snapshot);
        if self.state.health.superseded {
            return;
        }
        self.enroll.reconcile(snapshot, now);
        let in_use: HashSet<_> = snapshot
            .local()
            .values()
            .filter(|workload| workload.enrolled)
            .map(|workload| workload.identity.clone())
            .collect();
        self.identities.retain(|identity| in_use.contains(identity));
    }

    /// What could not be written is told once and tried again every round; until then the agent is
    /// not ready.
    fn follow_destinations(&mut self, snapshot: &Arc<Snapshot>) {
        match self.enroll.capture_mut().follow(snapshot) {
            Ok(()) => self.state.health.datapath_error = None,
            Err(DatapathError::Superseded) => self.superseded(),
            Err(error) => {
                let error = Some(error.to_string());
                if self.state.health.datapath_error != error {
                    error!(error, "the kernel does not know all addresses of the mesh");
                }
                self.state.health.datapath_error = error;
            }
        }
    }

    /// Once everything of the first configuration is captured, or at least tried: what an earlier
    /// agent captured and this one does not is let go.
    fn release_strangers(&mut self) {
        if self.state.strangers_released || !self.state.health.synced {
            return;
        }
        self.state.strangers_released = true;
        match self.enroll.capture_mut().release_strangers() {
            Ok(()) => {}
            Err(DatapathError::Superseded) => self.superseded(),
            Err(error) => warn!(%error, "pins of an earlier agent could not be cleaned up"),
        }
    }

    fn look_around(&mut self) {
        let snapshot = self.snapshot.load_full();
        self.telemetry.retain_pods(|key: &PodKey| {
            let alive = snapshot.workload(&key.name);
            alive.is_some_and(|workload| workload.pod.uid == key.uid)
        });
        let routes = snapshot.route_labels();
        self.telemetry.retain_routes(|label| routes.contains(label));
        if !self.state.health.superseded && !self.enroll.capture().is_owner() {
            self.superseded();
        }
        if self.state.health.datapath_error.is_some() && !self.state.health.superseded {
            self.follow_destinations(&snapshot);
        }
    }

    /// Another agent has the pins: this one serves what it has and changes nothing.
    fn superseded(&mut self) {
        if !self.state.health.superseded {
            info!("another agent has taken over; serving what is open");
            self.state.health.superseded = true;
        }
    }

    fn publish(&mut self) {
        self.state.health.pods = self.enroll.status();
        let pods = &self.state.health.pods;
        let captured = pods
            .iter()
            .filter(|pod| pod.stage == Stage::Captured)
            .count();
        let pending = pods
            .iter()
            .filter(|pod| matches!(pod.stage, Stage::Waiting | Stage::Proving))
            .count();
        let metrics = self.telemetry.metrics();
        metrics.set_captured_pods(captured, pending);
        for _ in self.state.probe_failures..self.enroll.probe_failures() {
            metrics.capture_probe_failed();
        }
        self.state.probe_failures = self.enroll.probe_failures();
        self.health.set(self.state.health.clone());
    }

    fn finish(&mut self, release: bool) {
        if !release {
            return info!("capture is left to a successor");
        }
        match self.enroll.capture_mut().release_all() {
            Ok(()) => info!("capture is taken away; nothing is left behind"),
            Err(DatapathError::Superseded) => info!("capture is left to the agent that took over"),
            Err(error) => error!(%error, "something is left behind; `weir uninstall` removes it"),
        }
    }
}

/// Whether PeerAuthentication may say another thing of an open connection.
fn judged_differently(old: &Snapshot, new: &Snapshot) -> bool {
    !old.peer_authentications()
        .ptr_eq(new.peer_authentications())
        || !old.local().ptr_eq(new.local())
        || old.mesh.root_namespace != new.mesh.root_namespace
}
