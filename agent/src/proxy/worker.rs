//! One data-plane thread: a single-threaded runtime, and everything local to it.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::error;

use super::{
    check,
    guarded::Guarded,
    l4, l7,
    pods::LocalPod,
    registry::{Registered, Registry},
    services::{Services, Views},
};
use crate::{
    model::{
        pod::Workload,
        seams::{CaptureId, OriginalDst, PodListeners, PodNet, ProbeToken},
        service::ServiceState,
        snapshot::Snapshot,
    },
    telemetry::{Metrics, Reason, Telemetry, WorkerTelemetry},
    transport::{
        hbone::pool::Pool,
        limits::{INBOUND_HANDSHAKES_MAX, SERVER_FIRST_MAX},
        listen,
        tls::IdentityHandle,
    },
};

/// Commands that wait for a thread; a full queue holds back the control side.
pub const COMMANDS_MAX: usize = 1024;

/// How long a listener that gets nothing new still accepts what is on its way.
const CLOSING_GRACE: Duration = Duration::from_millis(200);

/// What all data-plane threads read.
pub struct Shared {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub original_dst: Box<dyn OriginalDst + Send + Sync>,
    pub telemetry: Telemetry,
    /// The end of services' names.
    pub cluster_domain: Arc<str>,
    pub services: Arc<Services>,
}

/// What a thread tells of itself, for others to read.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Connections that it carries.
    pub connections: Arc<AtomicUsize>,
}

/// What the control side asks of a thread.
pub enum Command {
    AddPod {
        id: CaptureId,
        workload: Arc<Workload>,
        net: Arc<dyn PodNet>,
        identity: IdentityHandle,
        token: ProbeToken,
        listeners: PodListeners,
    },
    UpdatePod {
        id: CaptureId,
        workload: Arc<Workload>,
    },
    CloseListeners(CaptureId),
    RemovePod(CaptureId),
    /// Policies changed: judge open connections again.
    JudgeAgain,
    /// Takes no more from peers: their tunnels end in order, open streams go on.
    Drain,
    /// Ends every connection.
    EndAll(Reason),
    /// Answers as soon as the event loop gets to it.
    Ping(oneshot::Sender<()>),
}

/// The state of one thread.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) telemetry: WorkerTelemetry,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Pool,
    /// HTTP connections to applications and endpoints outside the mesh.
    pub(super) upstreams: l7::pool::Pool,
    pub(super) balancer: l7::balance::Balancer,
    pub(super) views: Views,
    pub(super) guarded: Guarded,
    /// Mirrored requests that are under way.
    pub(super) mirrors: Cell<usize>,
    /// Destinations whose server speaks first, as was seen.
    server_first: RefCell<HashSet<SocketAddr>>,
    registry: Rc<Registry>,
    pods: RefCell<HashMap<CaptureId, Rc<LocalPod>>>,
    by_ip: RefCell<HashMap<IpAddr, Rc<LocalPod>>>,
    draining: watch::Sender<bool>,
    /// Tunnels from peers, in the handshake and after it.
    pub(super) handshakes: Cell<usize>,
    pub(super) inbound_tunnels: Cell<usize>,
}

impl Worker {
    /// Runs on the calling thread until the control side hangs up.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn run(
        shared: Arc<Shared>,
        status: &Status,
        mut commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Sockets are looked at after this many tasks; the default of 61 makes a busy thread
            // slow to notice new requests.
            .event_interval(31)
            .build()?;
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            let worker = Rc::new(Self {
                telemetry: shared.telemetry.worker(),
                metrics: Arc::clone(shared.telemetry.metrics()),
                pool: Pool::new(Arc::clone(shared.telemetry.metrics())),
                upstreams: l7::pool::Pool::new(Arc::clone(shared.telemetry.metrics())),
                balancer: l7::balance::Balancer::new(seed()),
                guarded: Guarded::default(),
                views: Views::new(Arc::clone(&shared.services)),
                mirrors: Cell::new(0),
                server_first: RefCell::default(),
                registry: Registry::new(Arc::clone(&status.connections)),
                shared,
                pods: RefCell::default(),
                by_ip: RefCell::default(),
                draining: watch::channel(false).0,
                handshakes: Cell::new(0),
                inbound_tunnels: Cell::new(0),
            });
            if worker.shared.services.claim_checks() {
                spawn_local(check::run(Rc::clone(&worker)));
            }
            let wanted = Arc::clone(worker.views.hub());
            let mut sweeps = interval(Duration::from_secs(1));
            sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    command = commands.recv() => match command {
                        Some(command) => worker.obey(command),
                        None => return,
                    },
                    _ = sweeps.tick() => {
                        worker.registry.sweep();
                        worker.upstreams.sweep();
                        worker.upstreams.evict_wanted();
                        worker.views.sweep(&worker.snapshot());
                    }
                    () = wanted.wanted.notified() => worker.upstreams.evict_wanted(),
                }
            }
        });
        Ok(())
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::AddPod {
                id,
                workload,
                net,
                identity,
                token,
                listeners,
            } => {
                let pod = Rc::new(LocalPod::new(id, workload, net, identity, token));
                self.index(&pod);
                if let Some(old) = self.pods.borrow_mut().insert(id, Rc::clone(&pod)) {
                    old.remove();
                }
                self.listen(&pod, listeners);
            }
            Command::UpdatePod { id, workload } => {
                let pod = self.pods.borrow().get(&id).cloned();
                if let Some(pod) = pod {
                    pod.set_workload(workload);
                    self.index(&pod);
                }
            }
            Command::CloseListeners(id) => {
                if let Some(pod) = self.forget(id) {
                    pod.close_listeners();
                }
            }
            Command::RemovePod(id) => self.remove(id),
            Command::JudgeAgain => self.registry.judge_again(&self.snapshot()),
            Command::Drain => {
                self.draining.send_replace(true);
                for pod in self.pods.borrow().values() {
                    pod.close_listeners();
                }
            }
            Command::EndAll(reason) => self.registry.end_all(reason),
            Command::Ping(answer) => {
                let _ = answer.send(());
            }
        }
    }

    fn index(&self, pod: &Rc<LocalPod>) {
        let mut by_ip = self.by_ip.borrow_mut();
        by_ip.retain(|_, other| other.id != pod.id);
        for ip in &pod.workload().pod.ips {
            by_ip.insert(*ip, Rc::clone(pod));
        }
    }

    fn remove(&self, id: CaptureId) {
        if let Some(pod) = self.forget(id) {
            pod.remove();
            self.registry.end_of_pod(&pod, Reason::Draining);
        }
    }

    /// Nothing new is done for the pod; what is open keeps it alive.
    fn forget(&self, id: CaptureId) -> Option<Rc<LocalPod>> {
        let pod = self.pods.borrow_mut().remove(&id)?;
        self.by_ip
            .borrow_mut()
            .retain(|_, other| !Rc::ptr_eq(other, &pod));
        self.pool.retire_source(&pod.workload().pod.uid);
        self.upstreams.retire(id);
        self.views.hub().stale.flush_pod(&pod.workload().pod.uid);
        Some(pod)
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    pub(super) fn pod(&self, id: CaptureId) -> Option<Rc<LocalPod>> {
        self.pods.borrow().get(&id).cloned()
    }

    /// The captured pod of this node that has the address.
    pub(super) fn local_pod(&self, ip: IpAddr) -> Option<Rc<LocalPod>> {
        self.by_ip.borrow().get(&ip).cloned()
    }

    /// Counts a connection; `None` where there are too many.
    pub(super) fn register(
        &self,
        pod: &Rc<LocalPod>,
        plaintext: Option<(Arc<Workload>, u16)>,
    ) -> Option<Registered> {
        let registered = self.registry.register(pod, plaintext);
        if registered.is_none() {
            self.metrics.limit_reached("connections");
        }
        registered
    }

    /// Whether another peer may begin a handshake with this thread.
    pub(super) fn may_shake_hands(&self) -> bool {
        let may = self.handshakes.get() < INBOUND_HANDSHAKES_MAX;
        if !may {
            self.metrics.limit_reached("inbound_handshakes");
        }
        may
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether connections to `destination` are known to begin with the server's bytes.
    pub(super) fn is_server_first(&self, destination: SocketAddr) -> bool {
        self.server_first.borrow().contains(&destination)
    }

    pub(super) fn learn_server_first(&self, destination: SocketAddr) {
        let mut known = self.server_first.borrow_mut();
        if known.len() >= SERVER_FIRST_MAX {
            known.clear();
        }
        known.insert(destination);
    }

    /// `NAME.NAMESPACE.svc.DOMAIN`
    pub(super) fn host_name(&self, service: &ServiceState) -> Arc<str> {
        let name = &service.service.name;
        let domain = &self.shared.cluster_domain;
        format!("{}.{}.svc.{domain}", name.name, name.namespace).into()
    }

    /// Seconds since 1970, for what outlives a process: sessions.
    pub(super) fn unix_seconds(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |since| since.as_secs())
    }

    /// Completes once the thread drains.
    pub(super) fn drained(&self) -> impl Future<Output = ()> + 'static {
        let mut draining = self.draining.subscribe();
        async move {
            // An error means that the worker is gone, which ends everything anyway.
            let _ = draining.wait_for(|draining| *draining).await;
        }
    }

    fn listen(self: &Rc<Self>, pod: &Rc<LocalPod>, listeners: PodListeners) {
        for listener in listeners.outbound {
            self.accept_from(pod, listener, l4::outbound::serve);
        }
        for listener in listeners.inbound {
            self.accept_from(pod, listener, l4::inbound::serve);
        }
    }

    /// Accepts until the listener is to be closed; what waits in it by then is still taken.
    fn accept_from<F>(
        self: &Rc<Self>,
        pod: &Rc<LocalPod>,
        listener: std::net::TcpListener,
        serve: fn(Rc<Self>, Rc<LocalPod>, l4::Accepted) -> F,
    ) where
        F: Future<Output = ()> + 'static,
    {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                let pod = &pod.workload().pod.name;
                return error!(%pod, %error, "cannot accept from a listener");
            }
        };
        let (worker, pod) = (Rc::clone(self), Rc::clone(pod));
        spawn_local(async move {
            let start = |(stream, peer)| {
                let accepted = l4::Accepted { stream, peer };
                spawn_local(serve(Rc::clone(&worker), Rc::clone(&pod), accepted));
            };
            let closing = pod.listeners_closing();
            tokio::pin!(closing);
            loop {
                tokio::select! {
                    biased;
                    accepted = listen::accept(&listener) => start(accepted),
                    () = &mut closing => break,
                }
            }
            // The kernel sends no more, but handshakes may be under way.
            let _ = timeout(CLOSING_GRACE, async {
                loop {
                    start(listen::accept(&listener).await);
                }
            })
            .await;
        });
    }
}

/// Different for each thread and run.
fn seed() -> u64 {
    RandomState::new().hash_one(std::thread::current().id())
}
