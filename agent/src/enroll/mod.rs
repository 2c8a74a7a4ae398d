//! Which pods are captured, and since when: one state machine per pod, one writer.
//!
//! ```text
//!             certificate, namespace,        probe                probe
//!  Waiting ── listeners, map entries ──► Proving ── answered ──► Captured ─┐
//!     ▲  └── failed: again, later          │  ▲ └──── failed: again ◄──────┘
//!     │                                    │  │
//!     │              label taken away ─────┴──┴──► Leaving ── peers know ──► (nothing left)
//!     └── another namespace, address or identity       │
//!                          label given again ◄─────────┘
//! ```

mod pod;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use pod::{Attempt, Phase, TrackedPod};
pub use pod::{PodStatus, Stage};

use crate::model::{
    names::ObjectName,
    pod::Workload,
    seams::{Capture, CaptureId, OpenedPod, PodNet, PodSink, ProbeError},
    snapshot::Snapshot,
};

/// How long a pod whose label was taken away still takes what peers send through tunnels: they
/// hear of it within a second.
const LEAVING_GRACE: Duration = Duration::from_secs(5);
/// First and longest pause after a capture that failed.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// While the certificate is on its way.
const CERTIFICATE_POLL: Duration = Duration::from_millis(20);
/// Between proofs of a capture that works, and of one that has not worked yet.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBE_RETRY: Duration = Duration::from_millis(200);

/// Runs a probe elsewhere and reports with [`Enroll::probed`].
pub type StartProbe = Box<dyn Fn(ObjectName, CaptureId, Arc<dyn PodNet>) + Send>;

pub struct Enroll<C, S> {
    capture: C,
    sink: S,
    start_probe: StartProbe,
    pods: BTreeMap<ObjectName, TrackedPod>,
    probe_failures: u64,
}

impl<C: Capture, S: PodSink> Enroll<C, S> {
    pub fn new(capture: C, sink: S, start_probe: StartProbe) -> Self {
        Self {
            capture,
            sink,
            start_probe,
            pods: BTreeMap::new(),
            probe_failures: 0,
        }
    }

    pub fn capture(&self) -> &C {
        &self.capture
    }

    pub fn capture_mut(&mut self) -> &mut C {
        &mut self.capture
    }

    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Follows a snapshot. What takes time happens in [`Self::tick`].
    pub fn reconcile(&mut self, snapshot: &Snapshot, now: Instant) {
        let known: Vec<ObjectName> = self.pods.keys().cloned().collect();
        for name in known {
            match snapshot.local().get(&name) {
                Some(workload) if can_be_captured(workload) => self.keep(&name, workload, now),
                Some(_) => self.leave(&name, now),
                None => self.end(&name),
            }
        }
        for (name, workload) in snapshot.local() {
            if can_be_captured(workload) && !self.pods.contains_key(name) {
                let tracked = TrackedPod::new(Arc::clone(workload), now);
                self.pods.insert(name.clone(), tracked);
            }
        }
    }

    /// Does what is due; returns when to be called again.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        let names: Vec<ObjectName> = self.pods.keys().cloned().collect();
        for name in names {
            self.advance(&name, now);
        }
        self.pods.values().filter_map(TrackedPod::due).min()
    }

    fn advance(&mut self, name: &ObjectName, now: Instant) {
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        if pod.due().is_none_or(|due| due > now) {
            return;
        }
        match &mut pod.phase {
            Phase::Waiting(_) => self.open(name, now),
            Phase::Open(open) => {
                open.probing = true;
                (self.start_probe)(name.clone(), open.id, Arc::clone(&open.net));
            }
            Phase::Leaving { id, .. } => {
                let id = *id;
                self.pods.remove(name);
                let outcome = self.capture.release(id);
                self.log_failure(name, outcome);
                // Nothing new comes: what still waits in the listeners is taken, open connections
                // go on.
                self.sink.close_listeners(id);
                info!(pod = %name, "is no longer captured");
            }
        }
    }

    fn open(&mut self, name: &ObjectName, now: Instant) {
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        let workload = Arc::clone(&pod.workload);
        if !self.sink.is_ready_for(&workload) {
            pod.phase = Phase::Waiting(Attempt::certificate(now + CERTIFICATE_POLL));
            return;
        }
        match capture(&mut self.capture, &mut self.sink, &workload) {
            Ok((id, net)) => {
                info!(pod = %name, identity = %workload.identity, "captured; proving it");
                pod.phase = Phase::opened(id, net, now);
            }
            Err(error) => {
                let attempt = match &pod.phase {
                    Phase::Waiting(attempt) => attempt.failed(error, now, RETRY_MIN, RETRY_MAX),
                    _ => Attempt::default(),
                };
                if let Some(error) = attempt.news() {
                    warn!(pod = %name, error, "cannot capture; trying again");
                }
                pod.phase = Phase::Waiting(attempt);
            }
        }
    }

    /// A probe's outcome.
    pub fn probed(
        &mut self,
        name: &ObjectName,
        id: CaptureId,
        outcome: Result<(), ProbeError>,
        now: Instant,
    ) {
        let Some(Phase::Open(open)) = self.pods.get_mut(name).map(|pod| &mut pod.phase) else {
            return;
        };
        if open.id != id {
            return;
        }
        open.probing = false;
        match outcome {
            Ok(()) => {
                if !open.proven {
                    info!(pod = %name, "capture is proven");
                }
                open.proven = true;
                open.error = None;
                open.next_probe = now + PROBE_INTERVAL;
            }
            Err(error) => {
                self.probe_failures += 1;
                let error = error.to_string();
                if open.error.as_deref() != Some(&error) {
                    warn!(pod = %name, error, "capture is not proven; trying again");
                }
                open.proven = false;
                open.error = Some(error);
                open.next_probe = now + PROBE_RETRY;
            }
        }
    }

    /// Takes no new connections, unless a successor's listeners stand where these did.
    pub fn refuse_all(&mut self) {
        for pod in self.pods.values() {
            if let Some(id) = pod.id() {
                if let Err(error) = self.capture.refuse(id) {
                    info!(pod = %pod.workload.pod.name, %error, "left as it is");
                }
                self.sink.close_listeners(id);
            }
        }
    }

    pub fn status(&self) -> Vec<PodStatus> {
        self.pods.values().map(TrackedPod::status).collect()
    }

    /// Probes that failed, ever.
    pub fn probe_failures(&self) -> u64 {
        self.probe_failures
    }

    /// The pod is to be captured, and is tracked already.
    fn keep(&mut self, name: &ObjectName, workload: &Arc<Workload>, now: Instant) {
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        if Arc::ptr_eq(&pod.workload, workload) && !matches!(pod.phase, Phase::Leaving { .. }) {
            return;
        }
        if pod.is_another(workload) {
            self.end(name);
            let tracked = TrackedPod::new(Arc::clone(workload), now);
            self.pods.insert(name.clone(), tracked);
            return;
        }
        let skips_changed = pod.workload.pod.skip != workload.pod.skip;
        pod.workload = Arc::clone(workload);
        let Some(id) = pod.id() else { return };
        self.sink.update(id, workload);
        let mut outcome = Ok(());
        if skips_changed {
            outcome = self.capture.set_skips(id, &workload.pod.skip);
        }
        if let Phase::Leaving { id, net, .. } = &pod.phase {
            let (id, net) = (*id, Arc::clone(net));
            pod.phase = Phase::opened(id, net, now);
            outcome = outcome.and(self.capture.activate(id));
        }
        self.log_failure(name, outcome);
    }

    /// The label was taken away: the pod's own dials pass from now on, peers hear of it meanwhile.
    fn leave(&mut self, name: &ObjectName, now: Instant) {
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        match &pod.phase {
            Phase::Leaving { .. } => {}
            Phase::Waiting(_) => {
                self.pods.remove(name);
            }
            Phase::Open(open) => {
                let (id, net) = (open.id, Arc::clone(&open.net));
                pod.phase = Phase::Leaving {
                    id,
                    net,
                    until: now + LEAVING_GRACE,
                };
                let outcome = self.capture.release_outbound(id);
                self.log_failure(name, outcome);
            }
        }
    }

    /// The pod is gone, or is another one by now.
    fn end(&mut self, name: &ObjectName) {
        if let Some(id) = self.pods.remove(name).and_then(|pod| pod.id()) {
            let outcome = self.capture.release(id);
            self.log_failure(name, outcome);
            self.sink.remove(id);
            info!(pod = %name, "is gone");
        }
    }

    fn log_failure(&self, name: &ObjectName, outcome: Result<(), C::Error>) {
        if let Err(error) = outcome {
            warn!(pod = %name, %error, "the kernel side could not follow");
        }
    }
}

/// Listeners first, then the data plane that accepts from them, then the kernel that sends there.
fn capture<C: Capture, S: PodSink>(
    capture: &mut C,
    sink: &mut S,
    workload: &Arc<Workload>,
) -> Result<(CaptureId, Arc<dyn PodNet>), String> {
    let opened: OpenedPod = capture
        .open(&workload.pod)
        .map_err(|error| error.to_string())?;
    let (id, net) = (opened.id, Arc::clone(&opened.net));
    sink.add(workload, opened);
    let activated = capture
        .set_skips(id, &workload.pod.skip)
        .and_then(|()| capture.activate(id));
    if let Err(error) = activated {
        let error = error.to_string();
        if let Err(also) = capture.release(id) {
            warn!(pod = %workload.pod.name, %also, "a capture that failed could not be undone");
        }
        sink.remove(id);
        return Err(error);
    }
    Ok((id, net))
}

/// Enrolled, and there is something to capture.
fn can_be_captured(workload: &Workload) -> bool {
    workload.enrolled && !workload.pod.ips.is_empty()
}

#[cfg(test)]
mod tests;
