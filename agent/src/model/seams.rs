//! The seams between modules, joined only in `app`.

use std::{
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::BorrowedFd,
    pin::Pin,
    time::{Instant, SystemTime},
};

use super::{resource::Delta, spiffe::SpiffeId};

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
    fn original_dst(&self, socket: BorrowedFd<'_>) -> io::Result<SocketAddr>;
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
