//! The load generator: HTTP/1.1 and HTTP/2 framing against nginx, as the figures in `docs/performance.md` have it.
//!
//! It prints `start` once warmed up and `end` when it stops counting, so that `run` reads the proxies' CPU clocks
//! around exactly the requests that are counted; then one JSON line.

pub(crate) mod bulk;
mod churn;
mod crew;
mod http;
mod http2;
mod idle;
mod open;
mod saturate;

pub(crate) use http2::STREAMS_PER_CONNECTION;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Requests that may fail before a run gives up: a broken path is to end at once, not in a storm.
pub(crate) const ERRORS_MAX: u64 = 1_000;
/// How long one connect, or one reply at the end of a run, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Closed loop over kept connections: the next request when the reply is whole.
    Saturate,
    /// Open loop at a fixed rate: a request is due whether or not earlier ones have been answered.
    Open,
    /// Closed loop, a new connection for each request.
    Churn,
    /// One stream of bytes to a sink.
    Bulk,
    /// Connections that have carried one request and then say nothing.
    Idle,
    /// Closed loop over HTTP/2, several streams on each connection.
    Http2,
    /// The same with unary gRPC calls.
    Grpc,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Saturate => "saturate",
            Self::Open => "open",
            Self::Churn => "churn",
            Self::Bulk => "bulk",
            Self::Idle => "idle",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        let all = [
            Self::Saturate,
            Self::Open,
            Self::Churn,
            Self::Bulk,
            Self::Idle,
            Self::Http2,
            Self::Grpc,
        ];
        all.into_iter()
            .find(|kind| kind.name() == name)
            .with_context(|| format!("no load of kind `{name}`"))
    }
}

/// One load: `KIND DEST CONNECTIONS RATE MILLISECONDS`, as `run` writes it and `load` reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadArgs {
    pub(crate) kind: Kind,
    pub(crate) dest: SocketAddr,
    pub(crate) connections: usize,
    /// Requests a second; only the open loop has one.
    pub(crate) rate: u64,
    /// How long is counted, after the warm-up.
    pub(crate) counted: Duration,
}

impl LoadArgs {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut next = || {
            words
                .next()
                .context("load: KIND DEST CONNECTIONS RATE MILLISECONDS")
        };
        Ok(Self {
            kind: Kind::parse(&next()?)?,
            dest: next()?.parse()?,
            connections: next()?.parse()?,
            rate: next()?.parse()?,
            counted: Duration::from_millis(next()?.parse()?),
        })
    }

    pub(crate) fn words(&self) -> Vec<String> {
        vec![
            "load".into(),
            self.kind.name().into(),
            self.dest.to_string(),
            self.connections.to_string(),
            self.rate.to_string(),
            self.counted.as_millis().to_string(),
        ]
    }

    /// Not counted: pools fill, windows open.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.counted / 5).min(Duration::from_millis(500))
    }
}

/// What a load measured; the JSON line between `load` and `run`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    pub(crate) errors: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The first thing that went wrong, for the person who reads the report.
    pub(crate) first_error: Option<String>,
}

impl Measured {
    pub(crate) fn rps(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Counts an error; the caller stops when this says so.
    pub(crate) fn error(&mut self, what: impl std::fmt::Display) -> bool {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| what.to_string());
        self.errors >= ERRORS_MAX
    }

    fn absorb(&mut self, other: Self) {
        self.requests += other.requests;
        self.connections += other.connections;
        self.errors += other.errors;
        self.seconds = self.seconds.max(other.seconds);
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn quantiles(&mut self, mut latencies_ns: Vec<u32>) {
        latencies_ns.sort_unstable();
        let at = |permille: usize| {
            let index =
                (latencies_ns.len() * permille / 1_000).min(latencies_ns.len().saturating_sub(1));
            latencies_ns
                .get(index)
                .map_or(0.0, |ns| f64::from(*ns) / 1e3)
        };
        (self.p50_us, self.p99_us) = (at(500), at(990));
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "requests": self.requests, "connections": self.connections, "errors": self.errors, "bytes": self.bytes,
            "seconds": self.seconds, "p50_us": self.p50_us, "p99_us": self.p99_us, "first_error": self.first_error,
        })
    }

    pub(crate) fn from_json(line: &str) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_str(line)?;
        let whole = |name: &str| {
            value[name]
                .as_u64()
                .with_context(|| format!("load said no {name}"))
        };
        let real = |name: &str| {
            value[name]
                .as_f64()
                .with_context(|| format!("load said no {name}"))
        };
        Ok(Self {
            requests: whole("requests")?,
            connections: whole("connections")?,
            errors: whole("errors")?,
            bytes: whole("bytes")?,
            seconds: real("seconds")?,
            p50_us: real("p50_us")?,
            p99_us: real("p99_us")?,
            first_error: value["first_error"].as_str().map(str::to_owned),
        })
    }
}

pub(crate) fn main(args: &LoadArgs) -> Result<()> {
    if args.connections == 0 || args.counted.is_zero() {
        bail!("load: nothing to do");
    }
    let measured = match args.kind {
        Kind::Saturate => saturate::run(args)?,
        Kind::Open => open::run(args)?,
        Kind::Churn => churn::run(args)?,
        Kind::Bulk => bulk::send(args)?,
        Kind::Idle => idle::run(args)?,
        Kind::Http2 => http2::run(args, http2::Call::Get)?,
        Kind::Grpc => http2::run(args, http2::Call::Grpc)?,
    };
    say(&measured.to_json().to_string());
    Ok(())
}

/// How a path is asked whether it is up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asks {
    Http1,
    Http2,
    Grpc,
}

impl Asks {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

/// Says `up` when one request to `ADDRESS` gets its reply: `ASKS ADDRESS`.
pub(crate) fn probe(mut words: impl Iterator<Item = String>) -> Result<()> {
    let asks = words.next().context("probe: ASKS ADDRESS")?;
    let dest = words.next().context("probe: ASKS ADDRESS")?.parse()?;
    match asks.as_str() {
        "http1" => drop(http::probe(dest, http::CLOSE)?),
        "http2" => http2::probe(dest, http2::Call::Get)?,
        "grpc" => http2::probe(dest, http2::Call::Grpc)?,
        _ => bail!("probe: no way to ask called `{asks}`"),
    }
    say("up");
    Ok(())
}

/// One line to `run`. It may have gone away; the load ends by itself soon after.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Nanoseconds in 32 bits: four seconds are as bad as any longer time.
pub(crate) fn clamp_ns(latency: Duration) -> u32 {
    u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX)
}
