//! The access log: one line for each connection, written by a thread of its own.
//!
//! A worker hands over what it knows of the connection and goes on; formatting and writing, which
//! may block on a full pipe, happen elsewhere. When the queue is full a line is dropped and
//! counted: traffic does not wait for its log.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{labels::service_host, peers::ConnectionInfo, reason::Reason};
use crate::model::{
    mesh::{AccessLog as Settings, AccessLogFormat, AccessLogMode},
    pod::Workload,
    spiffe::SpiffeId,
};

/// Lines that wait to be written. Past it lines are dropped and counted in
/// `weir_access_log_dropped_total`.
pub const ACCESS_LOG_QUEUE_MAX: usize = 8192;

/// Lines are written together up to about this size.
const WRITE_BYTES: usize = 32 << 10;

/// What is told of one connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) time: SystemTime,
    pub(super) duration: Duration,
    pub(super) info: ConnectionInfo,
    pub(super) reason: Reason,
    pub(super) detail: Option<Cow<'static, str>>,
    pub(super) policy: Option<Arc<str>>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

enum Message {
    Line(Box<Entry>, AccessLogFormat),
    Flush(SyncSender<()>),
}

/// The queue's end that workers hold.
#[derive(Debug)]
pub(super) struct AccessLog {
    settings: AtomicU8,
    queue: SyncSender<Message>,
    dropped: Counter,
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
        Ok(Self {
            settings: AtomicU8::new(pack(Settings::default())),
            queue,
            dropped,
        })
    }

    pub(super) fn set(&self, settings: Settings) {
        self.settings.store(pack(settings), Relaxed);
    }

    /// Whether a connection that ended like this is logged. Cheap: asked for each connection.
    pub(super) fn wants(&self, reason: Reason) -> bool {
        match unpack(self.settings.load(Relaxed)).mode {
            AccessLogMode::Off => false,
            AccessLogMode::Errors => !reason.is_ok(),
            AccessLogMode::All => true,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        unpack(self.settings.load(Relaxed)).mode != AccessLogMode::Off
    }

    pub(super) fn write(&self, entry: Entry) {
        let format = unpack(self.settings.load(Relaxed)).format;
        let line = Message::Line(Box::new(entry), format);
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

fn pack(settings: Settings) -> u8 {
    let mode = match settings.mode {
        AccessLogMode::Off => 0,
        AccessLogMode::Errors => 1,
        AccessLogMode::All => 2,
    };
    mode | u8::from(settings.format == AccessLogFormat::Text) << 2
}

fn unpack(bits: u8) -> Settings {
    Settings {
        mode: match bits & 3 {
            0 => AccessLogMode::Off,
            1 => AccessLogMode::Errors,
            _ => AccessLogMode::All,
        },
        format: if bits & 4 == 0 {
            AccessLogFormat::Json
        } else {
            AccessLogFormat::Text
        },
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
            Message::Line(entry, format) => {
                format_entry(&entry, format, &self.cluster_domain, buffer);
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

/// One line as JSON. Fields of which nothing is known are left out.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    reporter: &'static str,
    reason: &'static str,
    response_flags: &'static str,
    source_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_workload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_principal: Option<&'a str>,
    original_destination: String,
    destination_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_workload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_service: Option<String>,
    request_protocol: &'static str,
    connection_security_policy: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(entry: &'a Entry, cluster_domain: &str) -> Self {
        let info = &entry.info;
        let (source, destination) = (info.source.as_deref(), info.destination.as_deref());
        let pod = |workload: &Workload| workload.pod.name.name.to_string();
        Self {
            time: timestamp(entry.time),
            reporter: info.reporter.as_str(),
            reason: entry.reason.as_str(),
            response_flags: entry.reason.response_flags(),
            source_address: info.source_address.to_string(),
            source_pod: source.map(pod),
            source_workload: source.map(|w| w.pod.workload_name.as_ref()),
            source_namespace: source.map(|w| w.pod.name.namespace.as_ref()),
            source_principal: info.source_principal.as_ref().map(SpiffeId::as_str),
            original_destination: info.original_destination.to_string(),
            destination_address: info.destination_address.to_string(),
            destination_pod: destination.map(pod),
            destination_workload: destination.map(|w| w.pod.workload_name.as_ref()),
            destination_namespace: destination.map(|w| w.pod.name.namespace.as_ref()),
            destination_principal: info.destination_principal.as_ref().map(SpiffeId::as_str),
            destination_service: info
                .service
                .as_ref()
                .map(|state| service_host(&state.service.name, cluster_domain)),
            request_protocol: "tcp",
            connection_security_policy: info.security.as_str(),
            bytes_sent: entry.bytes_sent,
            bytes_received: entry.bytes_received,
            duration_ms: (entry.duration.as_secs_f64() * 1e6).round() / 1e3,
            detail: entry.detail.as_deref(),
            policy: entry.policy.as_deref(),
        }
    }

    /// For people: one line, the ends first.
    fn text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let end =
            |pod: Option<&String>, namespace: Option<&str>, address: &str| match (namespace, pod) {
                (Some(namespace), Some(pod)) => format!("{namespace}/{pod} ({address})"),
                _ => address.to_owned(),
            };
        let source = end(
            self.source_pod.as_ref(),
            self.source_namespace,
            &self.source_address,
        );
        let destination = end(
            self.destination_pod.as_ref(),
            self.destination_namespace,
            &self.destination_address,
        );
        write!(
            out,
            "{} {:11} {} {source} -> {destination}",
            self.time, self.reporter, self.reason,
        )?;
        if let Some(service) = &self.destination_service {
            write!(out, " service={service}")?;
        }
        write!(
            out,
            " security={} sent={} received={} {}ms",
            self.connection_security_policy, self.bytes_sent, self.bytes_received, self.duration_ms,
        )?;
        if let Some(policy) = self.policy {
            write!(out, " policy={policy}")?;
        }
        if let Some(detail) = self.detail {
            // Debug escapes line breaks: a detail cannot forge a second line.
            write!(out, " detail={detail:?}")?;
        }
        out.write_all(b"\n")
    }
}

fn format_entry(entry: &Entry, format: AccessLogFormat, cluster_domain: &str, out: &mut Vec<u8>) {
    let line = Line::of(entry, cluster_domain);
    let begin = out.len();
    let written = match format {
        AccessLogFormat::Text => line.text(out),
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

fn timestamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
