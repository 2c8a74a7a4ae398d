//! The access log: one line for each connection and request, written by a thread of its own.
//!
//! A worker hands over what it knows and goes on; formatting and writing, which may block on a full
//! pipe, happen elsewhere. When the queue is full a line is dropped and counted: traffic does not
//! wait for its log.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

use super::ended::{Ended, Line};
use crate::model::mesh::{AccessLogFormat, AccessLogMode, MeshConfig};

/// Lines that wait to be written. Past it lines are dropped and counted in
/// `weir_access_log_dropped_total`.
pub const ACCESS_LOG_QUEUE_MAX: usize = 8192;

/// Lines are written together up to about this size.
const WRITE_BYTES: usize = 32 << 10;

enum Message {
    Line(Arc<Ended>, Arc<MeshConfig>),
    Flush(SyncSender<()>),
}

/// The queue's end that workers hold.
#[derive(Debug)]
pub(super) struct AccessLog {
    queue: SyncSender<Message>,
    dropped: Counter,
}

/// Whether what failed or not is logged under `mode`; `random` is uniform.
pub(super) fn wants(mode: AccessLogMode, failed: bool, random: impl FnOnce() -> u64) -> bool {
    match mode {
        AccessLogMode::Off => false,
        AccessLogMode::Errors => failed,
        AccessLogMode::Sampled(share) => failed || share.takes(random()),
        AccessLogMode::All => true,
    }
}

impl AccessLog {
    /// Starts the writing thread. It ends when the log is dropped.
    pub(super) fn start(
        output: Box<dyn Write + Send>,
        cluster_domain: Arc<str>,
        dropped: Counter,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(ACCESS_LOG_QUEUE_MAX);
        thread::Builder::new()
            .name("weir-access-log".into())
            .spawn(move || {
                Writer {
                    output,
                    cluster_domain,
                    broken: false,
                }
                .run(&messages)
            })?;
        Ok(Self { queue, dropped })
    }

    pub(super) fn write(&self, ended: Arc<Ended>, config: Arc<MeshConfig>) {
        let line = Message::Line(ended, config);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(line)
        {
            self.dropped.inc();
        }
    }

    /// Waits until what was logged so far is written, for at most `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let (done, written) = sync_channel(1);
        self.queue.try_send(Message::Flush(done)).is_ok() && written.recv_timeout(limit).is_ok()
    }
}

struct Writer {
    output: Box<dyn Write + Send>,
    cluster_domain: Arc<str>,
    /// The last write failed: said once, not for every line.
    broken: bool,
}

impl Writer {
    /// Writes what is there in one go, and at once when nothing more waits.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
        while let Ok(first) = messages.recv() {
            self.take(first, &mut buffer);
            while let Ok(next) = messages.try_recv() {
                self.take(next, &mut buffer);
            }
            self.put_out(&mut buffer);
        }
    }

    fn take(&mut self, message: Message, buffer: &mut Vec<u8>) {
        match message {
            Message::Line(ended, config) => {
                format(&ended, &config, &self.cluster_domain, buffer);
                if buffer.len() >= WRITE_BYTES {
                    self.put_out(buffer);
                }
            }
            Message::Flush(done) => {
                self.put_out(buffer);
                // Whoever asked may have given up waiting.
                let _ = done.send(());
            }
        }
    }

    fn put_out(&mut self, buffer: &mut Vec<u8>) {
        if buffer.is_empty() {
            return;
        }
        let result = self
            .output
            .write_all(buffer)
            .and_then(|()| self.output.flush());
        buffer.clear();
        match result {
            Err(error) if !self.broken => {
                tracing::error!(%error, "the access log cannot be written; further failures are not repeated");
                self.broken = true;
            }
            Err(_) => {}
            Ok(()) => self.broken = false,
        }
    }
}

fn format(ended: &Ended, config: &MeshConfig, cluster_domain: &str, out: &mut Vec<u8>) {
    let line = Line {
        ended,
        fields: config.access_log.fields,
        cluster_domain,
    };
    let begin = out.len();
    let written = match config.access_log.format {
        AccessLogFormat::Text => line.write_text(out),
        AccessLogFormat::Json => serde_json::to_writer(&mut *out, &line)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n")),
    };
    if let Err(error) = written {
        // Nothing in a line can fail to be written to memory; if it does, no half line stays.
        out.truncate(begin);
        tracing::error!(%error, "an access log line could not be formatted");
    }
}

#[cfg(test)]
mod tests;
