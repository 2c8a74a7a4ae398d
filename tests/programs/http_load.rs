//! GET requests at a steady rate, whatever becomes of those before: an open loop. Until standard
//! input ends, or `--count` have been sent.
//!
//! | flag | is |
//! |---|---|
//! | `--path /PATH` | what is asked for, `/` |
//! | `--header NAME:VALUE` | of each request, also several |
//! | `--count N` | ends after so many |
//! | `--patience MS` | a request that takes longer is given up, and its connection closed |
//! | `--slow MS` | answers that took longer are counted |
//!
//! Connections are kept and used again, as many as there are requests at the same time.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    runtime,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{Outcome, io::tell};

/// Requests open at the same time. Beyond it they are held back, and counted: a stall must not become a flood.
const OPEN_MAX: usize = 512;
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Failures that are told; all are counted.
const FAILURES_TOLD: usize = 20;
const PATIENCE_MS: u64 = 20_000;

type Sender = SendRequest<Empty<Bytes>>;

struct Options {
    addr: SocketAddr,
    per_second: u32,
    path: String,
    headers: HeaderMap,
    count: u32,
    patience: Duration,
    slow: Duration,
}

impl Options {
    fn read(args: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut args = args.iter().copied();
        let mut options = Self {
            addr: SocketAddr::from(([0; 4], 0)),
            per_second: 0,
            path: "/".to_owned(),
            headers: HeaderMap::new(),
            count: u32::MAX,
            patience: Duration::from_millis(PATIENCE_MS),
            slow: Duration::MAX,
        };
        loop {
            let mut value = || args.next().ok_or("a flag without a value");
            let ms = |text: &str| text.parse().map(Duration::from_millis);
            match value()? {
                "--path" => value()?.clone_into(&mut options.path),
                "--count" => options.count = value()?.parse()?,
                "--patience" => options.patience = ms(value()?)?,
                "--slow" => options.slow = ms(value()?)?,
                "--header" => {
                    let (name, value) = value()?.split_once(':').ok_or("NAME:VALUE")?;
                    let name = HeaderName::try_from(name)?;
                    options.headers.append(name, HeaderValue::try_from(value)?);
                }
                addr => {
                    options.addr = addr.parse()?;
                    options.per_second = value()?.parse()?;
                    return Ok(options);
                }
            }
        }
    }
}

#[derive(Default)]
struct Counts {
    sent: u64,
    held_back: u64,
    /// `200`, or Weir's status and reason: `503 pool_full`.
    answers: BTreeMap<String, u64>,
    /// Of answers with 200: who gave them.
    servers: BTreeMap<String, u64>,
    slow: u64,
    late: u64,
    failed: u64,
    failures: Vec<String>,
    /// Of each answer.
    micros: Vec<u32>,
}

/// What all requests have in common.
struct Load {
    options: Options,
    idle: Mutex<Vec<Sender>>,
    counts: Mutex<Counts>,
    began: Instant,
}

pub(crate) fn run(args: &[&str]) -> Outcome {
    let options = Options::read(args)?;
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(drive(options));
    Ok(())
}

async fn drive(options: Options) {
    let stop = Arc::new(AtomicBool::new(false));
    // A read of standard input cannot be called off.
    thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Relaxed);
        }
    });
    let runs_out = options.count < u32::MAX;
    let load = Arc::new(Load {
        options,
        idle: Mutex::default(),
        counts: Mutex::default(),
        began: Instant::now(),
    });
    let mut open = JoinSet::new();
    let mut reported = load.began;
    for number in 0..load.options.count {
        let due = Duration::from_secs(1) * number / load.options.per_second;
        sleep_until(load.began + due).await;
        // With a number said, the harness closes standard input at once to wait for the end.
        if stop.load(Ordering::Relaxed) && !runs_out {
            break;
        }
        while open.try_join_next().is_some() {}
        if open.len() < OPEN_MAX {
            lock(&load.counts).sent += 1;
            open.spawn(Arc::clone(&load).once());
        } else {
            lock(&load.counts).held_back += 1;
        }
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            tell(&load.report());
        }
    }
    while open.join_next().await.is_some() {}
    tell(&load.report());
}

impl Load {
    async fn once(self: Arc<Self>) {
        let began = Instant::now();
        let ended = timeout(self.options.patience, self.ask()).await;
        let took = began.elapsed();
        let mut counts = lock(&self.counts);
        match ended {
            Ok(Ok((answer, server))) => {
                *counts.answers.entry(answer).or_default() += 1;
                if let Some(server) = server {
                    *counts.servers.entry(server).or_default() += 1;
                }
                counts.slow += u64::from(took > self.options.slow);
                let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
                counts.micros.push(micros);
            }
            Ok(Err(error)) => {
                counts.failed += 1;
                if counts.failures.len() < FAILURES_TOLD {
                    let at = self.began.elapsed().as_millis();
                    counts.failures.push(format!("{error} at {at} ms"));
                }
            }
            Err(_) => counts.late += 1,
        }
    }

    async fn ask(
        &self,
    ) -> Result<(String, Option<String>), Box<dyn std::error::Error + Send + Sync>> {
        let mut sender = self.sender().await?;
        let host = self.options.addr.to_string();
        let mut request = Request::get(&self.options.path)
            .header(header::HOST, host)
            .body(Empty::new())?;
        for (name, value) in &self.options.headers {
            request.headers_mut().append(name, value.clone());
        }
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        if sender.ready().await.is_ok() {
            lock(&self.idle).push(sender);
        }
        let reason = parts.headers.get("x-weir-reason");
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()));
        let status = parts.status.as_u16();
        let answer = match reason {
            Some(reason) => format!("{status} {reason}"),
            None => status.to_string(),
        };
        let report: Value = match status {
            200 => serde_json::from_slice(&body).unwrap_or_default(),
            _ => Value::Null,
        };
        Ok((answer, report["server"].as_str().map(str::to_owned)))
    }

    /// A connection that waits for a request, or a new one.
    async fn sender(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        loop {
            let idle = lock(&self.idle).pop();
            match idle {
                Some(sender) if sender.is_ready() => return Ok(sender),
                Some(_) => {}
                None => break,
            }
        }
        let stream = TcpStream::connect(self.options.addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn report(&self) -> Value {
        let counts = lock(&self.counts);
        let mut micros = counts.micros.clone();
        micros.sort_unstable();
        let at = |percent: usize| {
            let index = (micros.len() * percent / 100).min(micros.len().saturating_sub(1));
            micros.get(index).map(|&micros| f64::from(micros) / 1e3)
        };
        json!({
            "sent": counts.sent,
            "held_back": counts.held_back,
            "answers": counts.answers,
            "servers": counts.servers,
            "slow": counts.slow,
            "late": counts.late,
            "failed": counts.failed,
            "failures": counts.failures,
            "seconds": self.began.elapsed().as_secs_f64(),
            "ms": {"p50": at(50), "p99": at(99), "max": at(100)},
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
