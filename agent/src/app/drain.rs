//! The end: no new connections, open ones to their end or the deadline, capture last.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use super::{
    AppError,
    workers::Workers,
    writer::{Event, EventSender},
};
use crate::{
    proxy::Command,
    settings::{AgentSettings, OnExit},
    telemetry::{Metrics, Reason},
};

/// What is on its way into a listener that closes is still taken.
const SETTLE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(20);
/// For connections to hear that they are ended.
const END_LIMIT: Duration = Duration::from_secs(1);
/// For the access log.
pub(super) const FLUSH_LIMIT: Duration = Duration::from_secs(1);

pub(super) async fn run(
    settings: &AgentSettings,
    events: &EventSender,
    workers: &Workers,
    metrics: &Metrics,
) -> Result<(), AppError> {
    let deadline = Instant::now() + settings.drain_timeout;
    let (done, accepted) = oneshot::channel();
    send(events, Event::Drain(done)).await?;
    accepted.await.map_err(|_| AppError::WriterGone)?;
    info!(
        connections = workers.connections(),
        timeout = ?settings.drain_timeout,
        "draining: no new connections"
    );
    let mut again = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    tokio::select! {
        drained = timeout_at(deadline, idle(workers, metrics)) => if drained.is_err() {
            end_rest(workers, metrics).await;
        },
        _ = again.recv() => {
            warn!("told to stop again: not waiting for open connections");
            end_rest(workers, metrics).await;
        }
    }
    let (done, finished) = oneshot::channel();
    let release = settings.on_exit == OnExit::Release;
    send(events, Event::Finish { release, done }).await?;
    finished.await.map_err(|_| AppError::WriterGone)
}

async fn idle(workers: &Workers, metrics: &Metrics) {
    sleep(SETTLE).await;
    loop {
        let connections = workers.connections();
        metrics.set_drain_connections(connections);
        if connections == 0 {
            return;
        }
        sleep(POLL).await;
    }
}

async fn end_rest(workers: &Workers, metrics: &Metrics) {
    warn!(
        connections = workers.connections(),
        "ending what is still open"
    );
    let told = workers.clone();
    // Waits where a thread's queue is full.
    let _ =
        tokio::task::spawn_blocking(move || told.tell(|| Command::EndAll(Reason::Draining))).await;
    let _ = timeout_at(Instant::now() + END_LIMIT, idle(workers, metrics)).await;
}

/// The writer's queue may be full: not for this event loop to wait.
async fn send(events: &EventSender, event: Event) -> Result<(), AppError> {
    let events = events.clone();
    let sent = tokio::task::spawn_blocking(move || events.send(event)).await;
    if matches!(sent, Ok(true)) {
        Ok(())
    } else {
        Err(AppError::WriterGone)
    }
}
