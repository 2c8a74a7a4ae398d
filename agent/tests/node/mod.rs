//! An agent's data plane in this process: threads that run [`Worker::run`], with the model read from manifests. Only
//! the kernel's part is replaced: what was dialled is known beforehand, and pods are loopback addresses.
//!
//! For what is about one connection at a time: the fuzz targets, and the bench of the pipeline.
#![allow(
    clippy::unwrap_used,
    reason = "a test or benchmark that cannot go on should stop"
)]

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use arc_swap::ArcSwap;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc::{Receiver, Sender};
use weir::{
    identity::{EmbeddedCa, IdentityStore, TrustBundle},
    model::{
        fold::Fold,
        names::ObjectName,
        resource::Delta,
        seams::{
            CaptureId, Clock, DeltaSink, Dialled, OriginalDst, PodListeners, PodNet, ProbeError,
            Source, SystemClock,
        },
        snapshot::Snapshot,
    },
    proxy::{Command, Services, Shared},
    sources::files::FolderSource,
    telemetry::{self, Telemetry},
};

const TRUST_DOMAIN: &str = "cluster.local";

/// Of every object.
pub(crate) const NAMESPACE: &str = "bench";
/// What every connection dials.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
pub(crate) const APP_PORT: u16 = 5080;
/// Whose address that is.
#[allow(dead_code, reason = "of those who include this, only the bench asks")]
pub(crate) const SERVICE_NAME: &str = "server";

/// The pods' addresses, all of 127.0.0.0/8: runs beside each other must not meet on the port of the tunnels.
#[derive(Clone, Copy)]
pub(crate) struct Pods {
    pub(crate) client: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

impl Pods {
    /// `pair`: of those that are in use at once.
    pub(crate) fn of_this_process(pair: u8) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        Self {
            client: Ipv4Addr::new(127, high, low, 101 + 2 * pair),
            server: Ipv4Addr::new(127, high, low, 102 + 2 * pair),
        }
    }
}

/// One agent with one data-plane thread.
pub(crate) struct Node {
    snapshot: Arc<Snapshot>,
    #[allow(dead_code, reason = "of those who include this, only the bench asks")]
    pub(crate) telemetry: Telemetry,
    #[allow(dead_code, reason = "of those who include this, only the bench asks")]
    pub(crate) services: Arc<Services>,
    identities: Arc<IdentityStore>,
    commands: Sender<Command>,
}

impl Node {
    /// `data_plane` is the thread's: it calls `Worker::run`.
    pub(crate) fn start(
        name: &str,
        delta: Delta,
        identities: &Arc<IdentityStore>,
        data_plane: fn(Arc<Shared>, Receiver<Command>),
    ) -> Self {
        let snapshot = Fold::new(TRUST_DOMAIN, name).apply(delta, Instant::now());
        let settings = telemetry::Settings::default();
        let cluster_domain = Arc::clone(&settings.cluster_domain);
        let telemetry = Telemetry::new(settings, Arc::new(SystemClock)).unwrap();
        let services = Arc::new(Services::new(Arc::clone(telemetry.metrics()), name.into()));
        let shared = Arc::new(Shared {
            snapshot: Arc::new(ArcSwap::new(Arc::clone(&snapshot))),
            original_dst: Box::new(AlwaysTheService),
            telemetry: telemetry.clone(),
            cluster_domain,
            services: Arc::clone(&services),
        });
        let (commands, queue) = tokio::sync::mpsc::channel(8);
        thread::spawn(move || data_plane(shared, queue));
        Self {
            snapshot,
            telemetry,
            services,
            identities: Arc::clone(identities),
            commands,
        }
    }

    #[allow(dead_code, reason = "of those who include this, only the bench asks")]
    pub(crate) fn has_policy(&self, service: &str) -> bool {
        let service = self.snapshot.service(&ObjectName::new(NAMESPACE, service));
        service.unwrap().policy.is_some()
    }

    /// Enrols a pod of the manifests, with the listeners that its captured connections come to.
    pub(crate) fn add_pod(&self, name: &str, id: CaptureId, listeners: PodListeners) {
        let workload = self
            .snapshot
            .workload(&ObjectName::new(NAMESPACE, name))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let identity = self.identities.ensure(&workload.identity);
        let identity = runtime.unwrap().block_on(identity).unwrap();
        for listener in listeners.outbound.iter().chain(&listeners.inbound) {
            listener.set_nonblocking(true).unwrap();
        }
        let add = Command::AddPod {
            id,
            workload: Arc::clone(workload),
            net: Arc::new(Loopback(own_ip(&workload.pod.ips))),
            identity,
            token: [0; 16],
            listeners,
        };
        self.commands.blocking_send(add).ok().unwrap();
    }
}

fn own_ip(ips: &[IpAddr]) -> IpAddr {
    *ips.first().unwrap()
}

struct AlwaysTheService;

impl OriginalDst for AlwaysTheService {
    fn original_dst(&self, _: BorrowedFd<'_>) -> io::Result<Dialled> {
        Ok(Dialled::Address((SERVICE, APP_PORT).into()))
    }
}

/// A pod without a namespace: its address says whose connections they are.
struct Loopback(IpAddr);

impl PodNet for Loopback {
    fn socket(&self, _: SocketAddr, _: Option<SocketAddr>) -> io::Result<OwnedFd> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SocketAddr::new(self.0, 0).into())?;
        Ok(socket.into())
    }

    fn probe(&self) -> Result<(), ProbeError> {
        Ok(())
    }
}

/// Of a CA that is made in the folder.
pub(crate) fn identities(state: &Path) -> Arc<IdentityStore> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ca =
        EmbeddedCa::load_or_create(&state.join("ca"), TRUST_DOMAIN, Arc::clone(&clock)).unwrap();
    let trust = TrustBundle::new(ca.roots(), TRUST_DOMAIN.into()).unwrap();
    let telemetry = Telemetry::new(telemetry::Settings::default(), Arc::clone(&clock)).unwrap();
    IdentityStore::new(
        Arc::new(ca),
        trust,
        clock,
        Arc::clone(telemetry.metrics()) as _,
    )
}

/// What the agent's own source makes of them.
pub(crate) fn read_manifests(folder: &Path, text: &str) -> Delta {
    struct First(mpsc::Sender<Delta>);
    impl DeltaSink for First {
        fn send(&mut self, delta: Delta) -> bool {
            let _ = self.0.send(delta);
            false
        }
    }
    let config = folder.join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("bench.yaml"), text).unwrap();
    let (sender, deltas) = mpsc::channel();
    Box::new(FolderSource::new(&config)).run(Box::new(First(sender)));
    let delta = deltas.recv().unwrap();
    assert_eq!(delta.rejected, 0);
    delta
}
