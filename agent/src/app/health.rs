//! What the writer knows of the agent's state, for readiness and people.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::{
    admin::{PodCounts, Readiness},
    enroll::{PodStatus, Stage},
};

/// Written by the writer, read by the admin API; never on a connection's path.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Clone, Default)]
pub(super) struct State {
    /// The first complete configuration is applied.
    pub(super) synced: bool,
    pub(super) draining: bool,
    /// Another agent has the pins.
    pub(super) superseded: bool,
    /// The kernel side could not follow the configuration.
    pub(super) datapath_error: Option<String>,
    pub(super) pods: Vec<PodStatus>,
}

impl Health {
    pub(super) fn set(&self, state: State) {
        *self.lock() = state;
    }

    pub(super) fn readiness(&self) -> Readiness {
        let state = self.lock();
        let mut missing = Vec::new();
        if !state.synced {
            missing.push("the configuration has not been read yet".into());
        }
        if state.draining {
            missing.push("the agent is draining".into());
        }
        if state.superseded && !state.draining {
            missing.push("another agent has taken over".into());
        }
        missing.extend(state.datapath_error.clone());
        for pod in &state.pods {
            let why = pod.error.as_deref().unwrap_or("under way");
            match pod.stage {
                Stage::Captured | Stage::Leaving => {}
                Stage::Waiting => missing.push(format!("{} is not captured: {why}", pod.name)),
                Stage::Proving => {
                    missing.push(format!("{}: capture is not proven: {why}", pod.name))
                }
            }
        }
        if missing.is_empty() {
            Readiness::Ready
        } else {
            Readiness::NotReady(missing)
        }
    }

    pub(super) fn pods(&self) -> Value {
        let pods = self.lock().pods.clone();
        pods.iter()
            .map(|pod| {
                json!({
                    "namespace": &*pod.name.namespace,
                    "name": &*pod.name.name,
                    "stage": pod.stage.as_str(),
                    "error": pod.error,
                })
            })
            .collect()
    }

    pub(super) fn pod_counts(&self) -> PodCounts {
        let pods = &self.lock().pods;
        let of = |stages: &[Stage]| {
            pods.iter()
                .filter(|pod| stages.contains(&pod.stage))
                .count()
        };
        PodCounts {
            enrolled: of(&[Stage::Waiting, Stage::Proving, Stage::Captured]),
            captured: of(&[Stage::Captured]),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
