//! Wiring only: what is started, in order, and how it ends.

mod drain;
mod error;
mod health;
mod listen;
pub mod preflight;
mod workers;
mod writer;

use std::{sync::Arc, thread};

use arc_swap::ArcSwap;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tracing::info;

pub use error::AppError;

use self::{
    health::Health,
    workers::{Workers, WorkersSink},
    writer::{EventSender, Writer},
};
use crate::{
    admin::{Admin, Sources, Surface},
    datapath::{self, Datapath, KernelOriginalDst, cgroup},
    enroll::Enroll,
    identity::{EmbeddedCa, IdentityStore, TrustBundle},
    model::{
        fold::Fold,
        seams::{Clock, Source as _, SystemClock},
        snapshot::Snapshot,
    },
    proxy::{Services, Shared},
    settings::AgentSettings,
    sources::files::FolderSource,
    telemetry::{
        self, Telemetry,
        logging::{self, LogFormat},
    },
};

/// Threads of the control runtime: certificates, admin, the kernel's log.
const CONTROL_THREADS: usize = 2;

/// Starts the log of the whole process, on stderr; `RUST_LOG` says what is in it.
///
/// # Errors
/// When `RUST_LOG` cannot be understood.
pub fn start_logging() -> Result<(), AppError> {
    let rust_log = std::env::var("RUST_LOG").ok();
    logging::init(rust_log.as_deref(), LogFormat::for_stderr())?;
    Ok(())
}

/// Runs an agent until it is told to stop and has drained.
///
/// # Errors
/// When something that it cannot do without is missing at the start.
pub fn run(settings: &AgentSettings) -> Result<(), AppError> {
    // The allocator's arena would be backed by huge pages: three times the memory for a heap of
    // small, short-lived objects.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the heap may use huge pages");
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("weir-control")
        .enable_all()
        .build()
        .map_err(AppError::thread("control"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry = Telemetry::new(telemetry::Settings::default(), Arc::clone(&clock))
        .map_err(AppError::thread("access log"))?;
    let identities = identities(settings, &clock, &telemetry)?;
    runtime.spawn(Arc::clone(&identities).run());

    let mut datapath = Datapath::open(&datapath_settings(settings)?)?;
    follow_kernel_log(&runtime, &mut datapath);
    let verdicts = datapath.verdict_reader()?;
    telemetry
        .metrics()
        .read_capture_verdicts_from(Box::new(move || verdicts.read()));

    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let services = Services::new(
        Arc::clone(telemetry.metrics()),
        settings.node.as_str().into(),
    );
    let services = Arc::new(services);
    let observed = Arc::clone(&services);
    telemetry
        .metrics()
        .read_services_from(Box::new(move || observed.observed()));
    let shared = Arc::new(Shared {
        snapshot: Arc::clone(&snapshot),
        original_dst: Box::new(KernelOriginalDst),
        telemetry: telemetry.clone(),
        cluster_domain: telemetry::Settings::default().cluster_domain,
        services: Arc::clone(&services),
    });
    let workers = Workers::start(settings.threads(), &shared)?;
    let health = Arc::new(Health::default());
    let events = start_writer(
        settings,
        &runtime,
        WriterParts {
            datapath,
            workers: &workers,
            identities,
            telemetry: telemetry.clone(),
            snapshot: Arc::clone(&snapshot),
            health: Arc::clone(&health),
            clock,
        },
    )?;
    start_source(settings, &events)?;
    start_admin(
        settings,
        &runtime,
        AdminParts {
            telemetry: telemetry.clone(),
            snapshot,
            health,
            workers: workers.clone(),
            services,
        },
    );
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = settings.node,
        threads = settings.threads(),
        trust_domain = settings.trust_domain,
        "weir agent is up"
    );
    let outcome = runtime.block_on(async {
        wait_for_stop(&events).await?;
        drain::run(settings, &events, &workers, telemetry.metrics()).await
    });
    telemetry.flush(drain::FLUSH_LIMIT);
    runtime.shutdown_background();
    outcome
}

fn identities(
    settings: &AgentSettings,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<Arc<IdentityStore>, AppError> {
    let (domain, clock) = (settings.trust_domain.as_str(), Arc::clone(clock));
    let ca = match (&settings.ca_cert, &settings.ca_key) {
        (Some(cert), Some(key)) => EmbeddedCa::from_files(cert, key, domain, Arc::clone(&clock))?,
        _ => EmbeddedCa::load_or_create(&settings.state, domain, Arc::clone(&clock))?,
    };
    let trust = TrustBundle::new(ca.roots(), domain.into())?;
    let metrics = Arc::clone(telemetry.metrics());
    Ok(IdentityStore::new(Arc::new(ca), trust, clock, metrics))
}

fn datapath_settings(settings: &AgentSettings) -> Result<datapath::Settings, AppError> {
    let cgroup = match &settings.cgroup {
        Some(cgroup) => cgroup.clone(),
        None => cgroup::cgroup2_root()?,
    };
    let debug = tracing::enabled!(target: "weir_ebpf", tracing::Level::DEBUG);
    Ok(datapath::Settings {
        bpffs: settings.bpffs.clone(),
        cgroup,
        workers: settings.threads(),
        // aya-log's numbers: 3 is info, 4 is debug.
        log_level: if debug { 4 } else { 3 },
    })
}

/// The BPF programs' own log lines go where the agent's go.
fn follow_kernel_log(runtime: &Runtime, datapath: &mut Datapath) {
    match datapath.kernel_log() {
        Ok(log) => {
            runtime.spawn(log.follow());
        }
        Err(error) => {
            tracing::warn!(%error, "the BPF programs' log cannot be read");
        }
    }
}

struct WriterParts<'a> {
    datapath: Datapath,
    workers: &'a Workers,
    identities: Arc<IdentityStore>,
    telemetry: Telemetry,
    snapshot: Arc<ArcSwap<Snapshot>>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
}

/// The one thread that changes anything: model, kernel, pods.
fn start_writer(
    settings: &AgentSettings,
    runtime: &Runtime,
    parts: WriterParts<'_>,
) -> Result<EventSender, AppError> {
    let (events, queue) = writer::channel();
    let sink = WorkersSink::new(
        parts.workers.clone(),
        Arc::clone(&parts.identities),
        runtime.handle().clone(),
    );
    let probes = writer::start_probes(runtime.handle().clone(), events.clone());
    let writer = Writer {
        fold: Fold::new(settings.trust_domain.as_str(), settings.node.as_str()),
        enroll: Enroll::new(parts.datapath, sink, probes),
        workers: parts.workers.clone(),
        identities: parts.identities,
        telemetry: parts.telemetry,
        snapshot: parts.snapshot,
        health: parts.health,
        clock: parts.clock,
        state: writer::State::default(),
    };
    thread::Builder::new()
        .name("weir-writer".into())
        .spawn(move || writer.run(&queue))
        .map_err(AppError::thread("writer"))?;
    Ok(events)
}

fn start_source(settings: &AgentSettings, events: &EventSender) -> Result<(), AppError> {
    let source = Box::new(FolderSource::new(&settings.config));
    let sink = Box::new(events.clone());
    thread::Builder::new()
        .name("weir-source".into())
        .spawn(move || source.run(sink))
        .map_err(AppError::thread("source"))?;
    Ok(())
}

struct AdminParts {
    telemetry: Telemetry,
    snapshot: Arc<ArcSwap<Snapshot>>,
    health: Arc<Health>,
    workers: Workers,
    services: Arc<Services>,
}

fn start_admin(settings: &AgentSettings, runtime: &Runtime, parts: AdminParts) {
    let AdminParts {
        telemetry,
        snapshot,
        health,
        workers,
        services,
    } = parts;
    let (readiness, pod_counts) = (Arc::clone(&health), Arc::clone(&health));
    let admin = Admin::new(Sources {
        telemetry,
        snapshot: Box::new(move || snapshot.load_full()),
        pods: Box::new(move || health.pods()),
        pod_counts: Box::new(move || pod_counts.pod_counts()),
        services: Box::new(move || services.status()),
        readiness: Box::new(move || readiness.readiness()),
        liveness: Box::new(move || workers.liveness()),
    });
    for (address, surface) in [
        (settings.metrics_addr, Surface::Metrics),
        (settings.admin_addr, Surface::Admin),
    ] {
        runtime.spawn(listen::serve(address, surface, Arc::clone(&admin)));
    }
}

/// Until a signal, or until the writer is gone.
async fn wait_for_stop(events: &EventSender) -> Result<(), AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    tokio::select! {
        _ = terminate.recv() => info!("told to stop"),
        _ = interrupt.recv() => info!("interrupted"),
        () = events.writer_gone() => return Err(AppError::WriterGone),
    }
    Ok(())
}
