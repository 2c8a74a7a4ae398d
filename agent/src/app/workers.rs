//! The data plane's threads, and what the control side tells them.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tracing::{error, warn};

use super::AppError;
use crate::{
    admin::Liveness,
    identity::IdentityStore,
    model::{
        pod::Workload,
        seams::{BoxFuture, CaptureId, OpenedPod, PodSink},
    },
    proxy::{Command, Shared, Status, Worker, worker::COMMANDS_MAX},
};

#[derive(Clone)]
pub(super) struct Workers(Arc<[Thread]>);

struct Thread {
    commands: mpsc::Sender<Command>,
    status: Status,
}

impl Workers {
    pub(super) fn start(count: usize, shared: &Arc<Shared>) -> Result<Self, AppError> {
        let threads = (0..count).map(|index| Thread::start(index, Arc::clone(shared)));
        Ok(Self(threads.collect::<Result<_, _>>()?))
    }

    /// Tells every thread. Waits where a queue is full: not for an event loop.
    pub(super) fn tell(&self, command: impl Fn() -> Command) {
        for thread in self.0.iter() {
            thread.tell(command());
        }
    }

    pub(super) fn connections(&self) -> usize {
        let of_thread = |thread: &Thread| thread.status.connections.load(Ordering::Relaxed);
        self.0.iter().map(of_thread).sum()
    }

    /// Asks every event loop for a sign of life.
    pub(super) fn liveness(&self) -> BoxFuture<'static, Liveness> {
        let workers = self.clone();
        Box::pin(async move {
            let mut stuck = Vec::new();
            for (index, thread) in workers.0.iter().enumerate() {
                let (answer, answered) = oneshot::channel();
                let asked = thread.commands.send(Command::Ping(answer)).await;
                if asked.is_err() || answered.await.is_err() {
                    stuck.push(format!("data-plane thread {index} has ended"));
                }
            }
            if stuck.is_empty() {
                Liveness::Live
            } else {
                Liveness::Stuck(stuck)
            }
        })
    }
}

impl Thread {
    fn start(index: usize, shared: Arc<Shared>) -> Result<Self, AppError> {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let status = Status::default();
        let own = status.clone();
        thread::Builder::new()
            .name(format!("weir-data-{index}"))
            .spawn(move || {
                if let Err(error) = Worker::run(shared, &own, queue) {
                    error!(index, %error, "a data-plane thread could not start");
                }
            })
            .map_err(AppError::thread("data-plane"))?;
        Ok(Self { commands, status })
    }

    fn tell(&self, command: Command) {
        if self.commands.blocking_send(command).is_err() {
            error!("a data-plane thread has ended; /healthz/live says so");
        }
    }
}

/// Gives captured pods to the data plane.
pub(super) struct WorkersSink {
    workers: Workers,
    identities: Arc<IdentityStore>,
    runtime: Handle,
}

impl WorkersSink {
    pub(super) fn new(workers: Workers, identities: Arc<IdentityStore>, runtime: Handle) -> Self {
        Self {
            workers,
            identities,
            runtime,
        }
    }
}

impl PodSink for WorkersSink {
    fn is_ready_for(&mut self, workload: &Workload) -> bool {
        if self.identities.get(&workload.identity).is_some() {
            return true;
        }
        let identities = Arc::clone(&self.identities);
        let identity = workload.identity.clone();
        // Many may ask: the store sends one request.
        self.runtime.spawn(async move {
            if let Err(error) = identities.ensure(&identity).await {
                warn!(%identity, %error, "no certificate yet");
            }
        });
        false
    }

    fn add(&mut self, workload: &Arc<Workload>, pod: OpenedPod) {
        let Some(identity) = self.identities.get(&workload.identity) else {
            // Its listeners close here, and its connections are refused until the next attempt.
            return error!(pod = %workload.pod.name, "its certificate is gone again");
        };
        for (thread, listeners) in self.workers.0.iter().zip(pod.listeners) {
            thread.tell(Command::AddPod {
                id: pod.id,
                workload: Arc::clone(workload),
                net: Arc::clone(&pod.net),
                identity: identity.clone(),
                token: pod.token,
                listeners,
            });
        }
    }

    fn update(&mut self, id: CaptureId, workload: &Arc<Workload>) {
        self.workers.tell(|| Command::UpdatePod {
            id,
            workload: Arc::clone(workload),
        });
    }

    fn close_listeners(&mut self, id: CaptureId) {
        self.workers.tell(|| Command::CloseListeners(id));
    }

    fn remove(&mut self, id: CaptureId) {
        self.workers.tell(|| Command::RemovePod(id));
    }
}
