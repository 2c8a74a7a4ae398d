//! One pod on its way to being captured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::model::{
    names::ObjectName,
    pod::Workload,
    seams::{CaptureId, PodNet},
};

pub(super) struct TrackedPod {
    pub(super) workload: Arc<Workload>,
    pub(super) phase: Phase,
}

pub(super) enum Phase {
    Waiting(Attempt),
    Open(Open),
    Leaving {
        id: CaptureId,
        net: Arc<dyn PodNet>,
        until: Instant,
    },
}

/// Captured, whether proven or not.
pub(super) struct Open {
    pub(super) id: CaptureId,
    pub(super) net: Arc<dyn PodNet>,
    pub(super) proven: bool,
    /// A probe is under way.
    pub(super) probing: bool,
    pub(super) next_probe: Instant,
    pub(super) error: Option<String>,
}

/// Trying to capture.
#[derive(Default)]
pub(super) struct Attempt {
    at: Option<Instant>,
    pause: Duration,
    error: Option<String>,
    error_is_new: bool,
}

impl Attempt {
    pub(super) fn certificate(at: Instant) -> Self {
        Self {
            at: Some(at),
            error: Some("its certificate is not there yet".into()),
            ..Self::default()
        }
    }

    pub(super) fn failed(&self, error: String, now: Instant, min: Duration, max: Duration) -> Self {
        let pause = (self.pause * 2).clamp(min, max);
        Self {
            at: Some(now + pause),
            pause,
            error_is_new: self.error.as_ref() != Some(&error),
            error: Some(error),
        }
    }

    /// The error, the first time it occurs in a row.
    pub(super) fn news(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| self.error_is_new)
    }
}

impl Phase {
    pub(super) fn opened(id: CaptureId, net: Arc<dyn PodNet>, now: Instant) -> Self {
        Self::Open(Open {
            id,
            net,
            proven: false,
            probing: false,
            next_probe: now,
            error: None,
        })
    }
}

impl TrackedPod {
    pub(super) fn new(workload: Arc<Workload>, now: Instant) -> Self {
        Self {
            workload,
            phase: Phase::Waiting(Attempt {
                at: Some(now),
                ..Attempt::default()
            }),
        }
    }

    pub(super) fn id(&self) -> Option<CaptureId> {
        match &self.phase {
            Phase::Waiting(_) => None,
            Phase::Open(open) => Some(open.id),
            Phase::Leaving { id, .. } => Some(*id),
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting(attempt) => attempt.at,
            Phase::Open(open) => (!open.probing).then_some(open.next_probe),
            Phase::Leaving { until, .. } => Some(*until),
        }
    }

    /// Whether `workload` has this one's name but is not the same to the kernel or to peers.
    pub(super) fn is_another(&self, workload: &Workload) -> bool {
        let (old, new) = (&self.workload.pod, &workload.pod);
        old.uid != new.uid
            || old.netns != new.netns
            || old.ips != new.ips
            || self.workload.identity != workload.identity
    }

    pub(super) fn status(&self) -> PodStatus {
        let (stage, error) = match &self.phase {
            Phase::Waiting(attempt) => (Stage::Waiting, attempt.error.clone()),
            Phase::Open(open) if open.proven => (Stage::Captured, None),
            Phase::Open(open) => (Stage::Proving, open.error.clone()),
            Phase::Leaving { .. } => (Stage::Leaving, None),
        };
        PodStatus {
            name: self.workload.pod.name.clone(),
            stage,
            error,
        }
    }
}

/// What a person sees of a pod's capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    pub name: ObjectName,
    pub stage: Stage,
    /// Why it is not further.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Waiting,
    Proving,
    Captured,
    Leaving,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Proving => "proving",
            Self::Captured => "captured",
            Self::Leaving => "leaving",
        }
    }
}
