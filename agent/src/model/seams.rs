//! The seams between modules, joined only in `app`.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{BorrowedFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    pod::{Pod, SkipRules, Workload},
    resource::Delta,
    spiffe::SpiffeId,
};

/// Takes the changes of a source, in order. `false`: nobody listens any more, stop.
pub trait DeltaSink: Send {
    fn send(&mut self, delta: Delta) -> bool;
}

/// Where the model comes from. Runs on a thread of its own until the sink says stop.
pub trait Source: Send {
    fn run(self: Box<Self>, sink: Box<dyn DeltaSink>);
}

/// What a connection that the kernel handed to the agent was meant for.
pub trait OriginalDst {
    /// `socket` has been accepted on a captured pod's outbound listener.
    ///
    /// # Errors
    /// When the kernel knows of no original destination: nobody dialled through the hook.
    fn original_dst(&self, socket: BorrowedFd<'_>) -> io::Result<Dialled>;
}

/// What an application dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    Address(SocketAddr),
    /// The agent itself, which proves capture: the answer is the pod's [`ProbeToken`].
    Probe,
}

/// Sockets inside one pod's network namespace. Held by everything that may still dial from the
/// pod: the namespace lives as long.
pub trait PodNet: Send + Sync {
    /// A non-blocking TCP socket, not yet connected, that capture leaves alone. Whoever accepts
    /// its connection inside the same pod sees `shown_as` as the client's address.
    fn socket(&self, to: SocketAddr, shown_as: Option<SocketAddr>) -> io::Result<OwnedFd>;

    /// Dials through the real path, as an application would, both ways, and waits for the answer
    /// of this very capture. Blocks, up to seconds.
    fn probe(&self) -> Result<(), ProbeError>;
}

/// A direction in which capture does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeError {
    pub direction: &'static str,
    pub reason: String,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} path is not captured: {}",
            self.direction, self.reason
        )
    }
}

/// One data-plane thread's listeners in one pod.
#[derive(Debug, Default)]
pub struct PodListeners {
    pub outbound: Vec<TcpListener>,
    pub inbound: Vec<TcpListener>,
}

/// A pod that is ready to be captured: its listeners stand, but nothing comes to them yet.
pub struct OpenedPod {
    pub id: CaptureId,
    pub net: Arc<dyn PodNet>,
    /// One for each data-plane thread.
    pub listeners: Vec<PodListeners>,
    /// What the data plane answers to a probe.
    pub token: ProbeToken,
}

/// Names a capture to [`Capture`]; used again when its pod is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaptureId(pub u32);

/// Random, so that only this capture's own answer proves it.
pub type ProbeToken = [u8; 16];

/// The kernel side of capturing pods. One writer: `enroll`.
pub trait Capture: Send {
    type Error: fmt::Display;

    /// Opens the pod's network namespace and the listeners in it.
    fn open(&mut self, pod: &Pod) -> Result<OpenedPod, Self::Error>;
    /// From now on new connections from and to the pod go to its listeners.
    fn activate(&mut self, id: CaptureId) -> Result<(), Self::Error>;
    fn set_skips(&mut self, id: CaptureId, skips: &SkipRules) -> Result<(), Self::Error>;
    /// New dials of the pod's applications pass untouched.
    fn release_outbound(&mut self, id: CaptureId) -> Result<(), Self::Error>;
    /// New connections to the pod pass untouched; nothing is left of the capture in the kernel.
    fn release(&mut self, id: CaptureId) -> Result<(), Self::Error>;
    /// New connections from and to the pod are refused, unless another agent has put listeners of
    /// its own in these ones' place.
    fn refuse(&mut self, id: CaptureId) -> Result<(), Self::Error>;
}

/// Where captured pods go: the data plane.
pub trait PodSink: Send {
    /// Whether the pod could be served: its identity has a certificate. If not, asks for one in the
    /// background; to be asked again.
    fn is_ready_for(&mut self, workload: &Workload) -> bool;
    fn add(&mut self, workload: &Arc<Workload>, pod: OpenedPod);
    /// Labels, addresses or identity of a captured pod changed.
    fn update(&mut self, id: CaptureId, workload: &Arc<Workload>);
    /// Takes what waits in the listeners, then closes them; open connections go on.
    fn close_listeners(&mut self, id: CaptureId);
    /// The pod is gone: its connections end.
    fn remove(&mut self, id: CaptureId);
}

/// A future whose type nobody needs to name.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A certificate authority, embedded or remote.
pub trait CertProvider: Send + Sync {
    /// Signs a certificate for the key in `csr` (PKCS #10, DER) that says it is `identity`.
    /// Nothing else of the request counts: what else the certificate says is the CA's to decide.
    fn sign<'a>(
        &'a self,
        identity: &'a SpiffeId,
        csr: &'a [u8],
    ) -> BoxFuture<'a, Result<IssuedCertificate, SignError>>;
}

/// What a CA answers.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// DER; the leaf first, then intermediates, no root.
    pub chain: Vec<Vec<u8>>,
}

/// Why a CA did not sign, in its own words: what was tried, why it failed, what to do.
pub type SignError = Box<dyn Error + Send + Sync>;

/// Told what becomes of certificates. Implemented by telemetry.
pub trait CertificateEvents: Send + Sync {
    /// `identity` has a certificate that is good until `not_after`.
    fn issued(&self, identity: &SpiffeId, not_after: SystemTime);
    /// A certificate for `identity` was asked for and not given.
    fn failed(&self, identity: &SpiffeId);
    /// No pod of this node has `identity` any more.
    fn removed(&self, identity: &SpiffeId);
}

/// Time, passed in so that logic can be tested with a stepped clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Instant;
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
