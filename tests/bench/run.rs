//! A run: all paths up, then rounds in which every path does every work, one right after the other, so that
//! whatever else the machine does meets them all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::args::RunArgs;
use crate::certs::Authority;
use crate::load::{Kind, LoadArgs, Measured, STREAMS_PER_CONNECTION};
use crate::machine;
use crate::paths::{Binaries, Counted, PathKind, Running, backend};
use crate::pipeline;
use crate::process::{Recording, Talker};
use crate::report::{self, Report, Row};
use crate::sandbox::Sandbox;

/// Connections of the closed loops, as in the figures that this is compared with.
const CONNECTIONS: usize = 64;
/// Connections over HTTP/2, which share out as many requests under way as `CONNECTIONS`.
const HTTP2_CONNECTIONS: usize = CONNECTIONS / STREAMS_PER_CONNECTION;
const OPEN_RATE: u64 = 2_000;
const IDLE_CONNECTIONS: usize = 10_000;
/// Memory is read when allocators have had a moment to settle.
const IDLE_HOLD: Duration = Duration::from_secs(2);
/// A load gets this much longer than it should take.
const GRACE: Duration = Duration::from_secs(30);
/// A path that fails this often is left out of what remains.
const FAILURES_MAX: usize = 3;
/// Of 1,000 requests; with more errors the rest is no measurement either.
const ERRORS_PER_MILLE_MAX: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    Req,
    TwoK,
    Conn,
    Bulk,
    Idle,
    L7Req,
    L7TwoK,
    L7Conn,
    L7Http2,
    L7Grpc,
    /// One request, counted in instructions and allocations: see [`crate::pipeline`].
    L7Pipeline,
    /// The same with one feature of a TrafficPolicy after the other.
    L7Features,
}

impl Work {
    pub(crate) const ALL: [Self; 12] = [
        Self::Req,
        Self::TwoK,
        Self::Conn,
        Self::Bulk,
        Self::Idle,
        Self::L7Req,
        Self::L7TwoK,
        Self::L7Conn,
        Self::L7Http2,
        Self::L7Grpc,
        Self::L7Pipeline,
        Self::L7Features,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Req => "l4-req",
            Self::TwoK => "l4-2k",
            Self::Conn => "l4-conn",
            Self::Bulk => "l4-bulk",
            Self::Idle => "l4-idle",
            Self::L7Req => "l7-req",
            Self::L7TwoK => "l7-2k",
            Self::L7Conn => "l7-conn",
            Self::L7Http2 => "l7-h2",
            Self::L7Grpc => "l7-grpc",
            Self::L7Pipeline => "l7-pipeline",
            Self::L7Features => "l7-features",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|work| work.name() == name)
            .with_context(|| format!("no work `{name}`"))
    }

    pub(crate) const fn is_l7(self) -> bool {
        matches!(
            self,
            Self::L7Req | Self::L7TwoK | Self::L7Conn | Self::L7Http2 | Self::L7Grpc
        )
    }

    /// Whether every round does it.
    const fn is_of_rounds(self) -> bool {
        !matches!(self, Self::Idle | Self::L7Pipeline | Self::L7Features)
    }

    const fn is_for(self, path: PathKind) -> bool {
        match self {
            // The agent's own bench has paths of its own.
            Self::L7Pipeline | Self::L7Features => false,
            _ if self.is_l7() => path.carries_l7(),
            _ => path.carries_l4(),
        }
    }

    /// What it makes the agents count.
    const fn counted(self) -> Counted {
        match self {
            Self::L7Req | Self::L7TwoK | Self::L7Conn => Counted::Requests(backend::WEB_PORT),
            Self::L7Http2 => Counted::Requests(backend::H2C_PORT),
            Self::L7Grpc => Counted::Requests(backend::GRPC_PORT),
            _ => Counted::Connections,
        }
    }

    fn load(self, path: &Running, counted: Duration) -> Result<LoadArgs> {
        let (kind, port, connections) = match self {
            Self::Req => (Kind::Saturate, backend::HTTP_PORT, CONNECTIONS),
            Self::TwoK => (Kind::Open, backend::HTTP_PORT, CONNECTIONS),
            Self::Conn => (Kind::Churn, backend::HTTP_PORT, CONNECTIONS),
            Self::Bulk => (Kind::Bulk, backend::BULK_PORT, 1),
            Self::Idle => (Kind::Idle, backend::HTTP_PORT, IDLE_CONNECTIONS),
            Self::L7Req => (Kind::Saturate, backend::WEB_PORT, CONNECTIONS),
            Self::L7TwoK => (Kind::Open, backend::WEB_PORT, CONNECTIONS),
            Self::L7Conn => (Kind::Churn, backend::WEB_PORT, CONNECTIONS),
            Self::L7Http2 => (Kind::Http2, backend::H2C_PORT, HTTP2_CONNECTIONS),
            Self::L7Grpc => (Kind::Grpc, backend::GRPC_PORT, HTTP2_CONNECTIONS),
            Self::L7Pipeline | Self::L7Features => bail!("{} is no load", self.name()),
        };
        Ok(LoadArgs {
            kind,
            dest: path.address(port),
            connections,
            rate: OPEN_RATE,
            counted,
        })
    }
}

/// What one path did in one work of one round.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) load: Measured,
    /// CPU time of all proxies while the load was counted.
    pub(crate) proxy_cpu: Duration,
    /// Resident memory of each proxy at the end, MiB, the source's first.
    pub(crate) rss_mib: Vec<f64>,
}

/// By work and path, one entry for each round; none where that round failed.
pub(crate) type Samples = BTreeMap<(Work, PathKind), Vec<Option<Sample>>>;

struct Plan {
    rounds: usize,
    counted: Duration,
    /// No new round begins after this.
    last_start: Duration,
}

impl Plan {
    fn new(args: &RunArgs) -> Self {
        let (rounds, seconds, last_start) = if args.quick {
            (3, 1.2, 300)
        } else {
            (5, 2.5, 1_200)
        };
        Self {
            rounds: args.rounds.unwrap_or(rounds),
            counted: Duration::from_secs_f64(args.seconds.unwrap_or(seconds)),
            last_start: Duration::from_secs(last_start),
        }
    }
}

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let plan = Plan::new(args);
    let mut sandbox = Sandbox::create()?;
    let ca = Authority::create(&sandbox.dir("ca")?);
    let binaries = Binaries {
        weir: args.weir.clone(),
        envoy: args.envoy.clone(),
    };
    let mut bench = Bench {
        paths: Vec::new(),
        failures: Vec::new(),
        samples: Samples::new(),
        logs: sandbox.dir("logs")?,
    };
    let files = [&args.pipeline, &args.features].into_iter().flatten();
    let pipeline: Vec<Vec<Row>> = files
        .map(|file| pipeline::rows(file))
        .collect::<Result<_>>()?;
    let is_asked = |kind: &&PathKind| args.works.iter().any(|work| work.is_for(**kind));
    for kind in args.paths.iter().filter(is_asked) {
        eprintln!("bench: starting {}", kind.name());
        match Running::start(&mut sandbox, &ca, *kind, &binaries) {
            Ok(running) => bench.paths.push(running),
            Err(error) => bench.failed(*kind, "start", &error),
        }
    }
    ensure!(
        !bench.paths.is_empty() || !pipeline.is_empty(),
        "no path came up"
    );

    let (busy, own, began) = (machine::busy()?, sandbox.cpu()?, Instant::now());
    let rounds = bench.rounds(args, &plan)?;
    let elapsed = began.elapsed();
    let foreign = (machine::busy()? - busy).saturating_sub(sandbox.cpu()? - own);

    let report = Report {
        commit: args.commit.clone(),
        machine: machine::describe(),
        versions: report::versions(&binaries),
        rounds,
        counted: plan.counted,
        foreign_share: foreign.as_secs_f64() / (elapsed.as_secs_f64() * machine::cores() as f64),
        rows: report::rows(&bench.samples)
            .into_iter()
            .chain(pipeline.into_iter().flatten())
            .collect(),
        failures: bench.failures,
    };
    let markdown = report.markdown();
    println!("{markdown}");
    if let Some(file) = &args.json {
        fs::write(file, report.json())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &args.markdown {
        fs::write(file, &markdown).with_context(|| format!("cannot write {}", file.display()))?;
    }
    // Last of all, so that what could be measured is there to read.
    ensure!(
        report.failures.is_empty(),
        "{} measurements failed, see above",
        report.failures.len()
    );
    Ok(())
}

struct Bench {
    paths: Vec<Running>,
    failures: Vec<String>,
    samples: Samples,
    logs: PathBuf,
}

impl Bench {
    fn rounds(&mut self, args: &RunArgs, plan: &Plan) -> Result<usize> {
        let began = Instant::now();
        // One short round that is not counted: code, pools and caches warm up.
        let warm = Duration::from_millis(300);
        let mut done = 0;
        for round in 0..=plan.rounds {
            if round > 1 && began.elapsed() > plan.last_start {
                eprintln!("bench: out of time after {done} rounds");
                break;
            }
            for work in args
                .works
                .iter()
                .copied()
                .filter(|work| work.is_of_rounds())
            {
                eprintln!("bench: round {round} of {}, {}", plan.rounds, work.name());
                // Another one goes first each time.
                for turn in 0..self.paths.len() {
                    let index = (turn + round) % self.paths.len();
                    if !work.is_for(self.paths[index].kind) {
                        continue;
                    }
                    let perf = args
                        .perf
                        .as_deref()
                        .and_then(|dir| Recording::of_round(round, dir));
                    let sample = self.measure(
                        index,
                        work,
                        if round == 0 { warm } else { plan.counted },
                        perf,
                    );
                    if round > 0 {
                        self.samples
                            .entry((work, self.paths[index].kind))
                            .or_default()
                            .push(sample);
                    }
                }
            }
            done = round;
            self.drop_broken();
            if self.paths.is_empty() && !self.failures.is_empty() {
                bail!("every path broke:\n{}", self.failures.join("\n"));
            }
        }
        if args.works.contains(&Work::Idle) {
            // An Envoy needs two descriptors for each connection, and 20,000 is the limit here: Weir across nodes only.
            if let Some(index) = self
                .paths
                .iter()
                .position(|path| path.kind == PathKind::WeirCross)
            {
                eprintln!("bench: {IDLE_CONNECTIONS} idle connections");
                let sample = self.measure(index, Work::Idle, IDLE_HOLD, None);
                self.samples
                    .insert((Work::Idle, PathKind::WeirCross), vec![sample]);
            }
        }
        Ok(done)
    }

    fn measure(
        &mut self,
        index: usize,
        work: Work,
        counted: Duration,
        perf: Option<Recording<'_>>,
    ) -> Option<Sample> {
        let path = &mut self.paths[index];
        match slice(path, work, counted, &self.logs, perf) {
            Ok(sample) => Some(sample),
            Err(error) => {
                let kind = path.kind;
                self.failed(kind, work.name(), &error);
                None
            }
        }
    }

    fn failed(&mut self, kind: PathKind, what: &str, error: &anyhow::Error) {
        let mut text = format!("{}: {what}: {error:#}", kind.name());
        for entry in fs::read_dir(&self.logs).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let log =
                String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).into_owned();
            if name.starts_with(kind.name()) {
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(5)..];
                text.extend(tail.iter().map(|line| format!("\n  {name}: {line}")));
            }
        }
        eprintln!("bench: FAILED {text}");
        self.failures.push(text);
    }

    fn drop_broken(&mut self) {
        let failures = &self.failures;
        self.paths.retain(|path| {
            let prefix = format!("{}:", path.kind.name());
            failures
                .iter()
                .filter(|text| text.starts_with(&prefix))
                .count()
                < FAILURES_MAX
        });
    }
}

/// One load through one path.
fn slice(
    path: &mut Running,
    work: Work,
    counted: Duration,
    logs: &Path,
    perf: Option<Recording<'_>>,
) -> Result<Sample> {
    path.check_alive()?;
    let proven = work.counted();
    let proof = path.proof.as_ref();
    let before = proof.map(|proof| proof.read(proven)).transpose()?;
    let args = work.load(path, counted)?;
    let name = format!("{}-{}", path.kind.name(), work.name());
    let log = logs.join(format!("{name}-load"));
    let mut load = Talker::start(
        &name,
        &std::env::current_exe()?,
        &args.words(),
        &path.client,
        &log,
    )?;
    let deadline = Instant::now() + args.warm_up() + counted + GRACE;
    let cpu = |path: &Running| {
        path.proxies
            .iter()
            .map(|proxy| proxy.cpu())
            .sum::<Result<Duration>>()
    };
    let (mut cpu_before, mut cpu_after, mut measured, mut rss_mib) = (None, None, None, Vec::new());
    let mut recorder = None;
    while let Some(line) = load.line(deadline)? {
        match line.as_str() {
            "start" => {
                if let Some(perf) = perf.filter(|_| !path.proxies.is_empty()) {
                    recorder = Some(perf.start(&path.proxies, &name)?);
                }
                cpu_before = Some(cpu(path)?);
            }
            "end" => {
                cpu_after = Some(cpu(path)?);
                rss_mib = path
                    .proxies
                    .iter()
                    .map(|proxy| proxy.rss_mib())
                    .collect::<Result<_>>()?;
                drop(recorder.take());
            }
            json => measured = Some(Measured::from_json(json)?),
        }
    }
    let (Some(load), Some(cpu_before), Some(cpu_after)) = (measured, cpu_before, cpu_after) else {
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("the load ended early: {}", said.trim());
    };
    let first_error = load.first_error.as_deref().unwrap_or_default();
    ensure!(
        load.requests + load.bytes > 0,
        "nothing went through: {first_error}"
    );
    ensure!(
        load.errors * 1_000 <= load.requests * ERRORS_PER_MILLE_MAX,
        "{} errors beside {} requests: {first_error}",
        load.errors,
        load.requests
    );
    if let (Some(proof), Some(before)) = (&path.proof, before) {
        let made = match proven {
            Counted::Connections => load.connections,
            Counted::Requests(_) => load.requests,
        };
        proof.check(proven, &before, made)?;
    }
    path.check_alive()?;
    Ok(Sample {
        load,
        proxy_cpu: cpu_after.saturating_sub(cpu_before),
        rss_mib,
    })
}
