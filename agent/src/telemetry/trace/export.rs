//! The queue of spans and the thread that sends them.
//!
//! The thread is started with the first collector that is configured. It waits for nobody: a full
//! queue drops spans, a collector that does not take a batch after a few tries loses it, and both
//! are counted.

mod client;

use std::{
    io,
    sync::{
        Arc, OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use prost::Message as _;
use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel},
        watch,
    },
    time::{Instant, sleep, timeout_at},
};

use self::client::Client;
use super::span::export_request;
use crate::{
    model::mesh::Collector,
    telemetry::{ended::Ended, metrics::SpanCounters},
};

/// Spans that wait to be sent. Past it they are dropped and counted in
/// `weir_trace_spans_dropped_total`.
pub(super) const SPANS_QUEUE_MAX: usize = 8192;
/// Spans in one message.
const BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for others to go with.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Tries at one batch, the first included.
const TRIES_MAX: u32 = 3;
/// Before the second try; doubled with each.
const RETRY_DELAY: Duration = Duration::from_millis(200);

enum Message {
    Span(Arc<Ended>),
    Flush(SyncSender<()>),
}

/// The queue's end that workers hold.
pub(in crate::telemetry) struct Spans {
    queue: OnceLock<Sender<Message>>,
    collector: watch::Sender<Option<Collector>>,
    counters: SpanCounters,
    cluster_domain: Arc<str>,
}

impl Spans {
    pub(in crate::telemetry) fn new(counters: SpanCounters, cluster_domain: Arc<str>) -> Self {
        Self {
            queue: OnceLock::new(),
            collector: watch::Sender::new(None),
            counters,
            cluster_domain,
        }
    }

    /// Where spans go from now on. `false`: nowhere.
    pub(in crate::telemetry) fn send_to(&self, collector: Option<&Collector>) -> bool {
        self.collector.send_replace(collector.cloned());
        if collector.is_none() {
            return false;
        }
        if self.queue.get().is_none() {
            match self.start() {
                Ok(queue) => {
                    // Only the control side comes here, one call at a time.
                    let _ = self.queue.set(queue);
                }
                Err(error) => {
                    tracing::error!(%error, "spans cannot be sent: their thread did not start");
                    return false;
                }
            }
        }
        true
    }

    pub(in crate::telemetry) fn send(&self, span: Arc<Ended>) {
        let sent = self
            .queue
            .get()
            .is_some_and(|queue| queue.try_send(Message::Span(span)).is_ok());
        if !sent {
            self.counters.dropped.inc();
        }
    }

    /// Waits until what is queued was sent or dropped, for at most `limit`.
    pub(in crate::telemetry) fn flush(&self, limit: Duration) -> bool {
        let Some(queue) = self.queue.get() else {
            return true;
        };
        let (done, sent) = sync_channel(1);
        queue.try_send(Message::Flush(done)).is_ok() && sent.recv_timeout(limit).is_ok()
    }

    /// The thread ends when the queue is dropped.
    fn start(&self) -> io::Result<Sender<Message>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (queue, messages) = channel(SPANS_QUEUE_MAX);
        let exporter = Exporter {
            messages,
            collector: self.collector.subscribe(),
            counters: self.counters.clone(),
            cluster_domain: Arc::clone(&self.cluster_domain),
            client: Client::default(),
            failing: false,
        };
        thread::Builder::new()
            .name("weir-traces".into())
            .spawn(move || runtime.block_on(exporter.run()))?;
        Ok(queue)
    }
}

struct Exporter {
    messages: Receiver<Message>,
    collector: watch::Receiver<Option<Collector>>,
    counters: SpanCounters,
    cluster_domain: Arc<str>,
    client: Client,
    /// The collector did not take the last batch, which was told.
    failing: bool,
}

/// Why a batch is complete.
enum Gathered {
    Batch,
    Flush(SyncSender<()>),
    End,
}

impl Exporter {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let gathered = self.gather(&mut batch).await;
            if !batch.is_empty() {
                self.deliver(&batch).await;
                batch.clear();
            }
            match gathered {
                Gathered::Batch => {}
                // Whoever asked may have given up waiting.
                Gathered::Flush(done) => drop(done.send(())),
                Gathered::End => return,
            }
        }
    }

    async fn gather(&mut self, batch: &mut Vec<Arc<Ended>>) -> Gathered {
        let mut due = None;
        while batch.len() < BATCH_SPANS_MAX {
            let message = match due {
                None => self.messages.recv().await,
                Some(due) => match timeout_at(due, self.messages.recv()).await {
                    Ok(message) => message,
                    Err(_) => return Gathered::Batch,
                },
            };
            match message {
                Some(Message::Span(span)) => {
                    due.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
                    batch.push(span);
                }
                Some(Message::Flush(done)) => return Gathered::Flush(done),
                None => return Gathered::End,
            }
        }
        Gathered::Batch
    }

    async fn deliver(&mut self, batch: &[Arc<Ended>]) {
        let spans = batch.len() as u64;
        let Some(collector) = self.collector.borrow_and_update().clone() else {
            self.counters.dropped.inc_by(spans);
            return;
        };
        let body = export_request(batch, &self.cluster_domain).encode_to_vec();
        let mut delay = RETRY_DELAY;
        let mut tries = 1;
        loop {
            match self.client.export(&collector, &body).await {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    self.counters.sent.inc_by(spans - rejected);
                    self.counters.dropped.inc_by(rejected);
                    self.failing = false;
                    return;
                }
                Err(error) if tries == TRIES_MAX || !error.may_pass() => {
                    self.counters.dropped.inc_by(spans);
                    if !self.failing {
                        let (host, port) = (&collector.host, collector.port);
                        tracing::warn!(%error, %host, port, "the trace collector does not take spans; further failures are counted and not told");
                    }
                    self.failing = true;
                    return;
                }
                Err(_) => {
                    sleep(delay).await;
                    delay *= 2;
                    tries += 1;
                }
            }
        }
    }
}
