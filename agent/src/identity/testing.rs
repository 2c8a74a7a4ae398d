//! What the tests of this module share: a CA that signs whatever is asked, a clock that is
//! tokio's, and TLS handshakes in memory.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
};
use time::OffsetDateTime;

use super::{TrustBundle, material, verify::crypto_provider};
use crate::model::{
    seams::{BoxFuture, CertProvider, CertificateEvents, Clock, IssuedCertificate, SignError},
    spiffe::SpiffeId,
};

/// A moment of the year 2026: certificates have whole seconds.
pub(super) fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// Stands still.
pub(super) struct Still(pub(super) SystemTime);

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        self.0
    }
}

pub(super) fn still() -> Arc<dyn Clock> {
    Arc::new(Still(epoch()))
}

/// Goes with tokio's paused time.
pub(super) struct TokioClock(tokio::time::Instant);

impl TokioClock {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> SystemTime {
        epoch() + self.0.elapsed()
    }
}

/// A root that signs whatever a test asks for.
pub(super) struct Forger(CertifiedIssuer<'static, KeyPair>);

impl Forger {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "forger");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn trust(&self, domain: &str) -> Arc<TrustBundle> {
        TrustBundle::new(&[self.root()], domain.into()).unwrap()
    }

    /// A certificate with these URI names, good from an hour before to an hour after [`epoch`].
    pub(super) fn leaf(&self, uris: &[&str]) -> Leaf {
        let hour = Duration::from_secs(3600);
        self.leaf_between(uris, epoch() - hour, epoch() + hour)
    }

    pub(super) fn leaf_between(&self, uris: &[&str], from: SystemTime, to: SystemTime) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        params.not_before = OffsetDateTime::from(from);
        params.not_after = OffsetDateTime::from(to);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            chain: vec![certificate.into()],
            key,
        }
    }
}

/// A certificate with its key.
pub(super) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Leaf {
    fn certified(&self) -> Arc<SingleCertAndKey> {
        let der = PrivateKeyDer::try_from(self.key.serialized_der()).unwrap();
        let key = crypto_provider()
            .key_provider
            .load_private_key(der.clone_key())
            .unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            self.chain.clone(),
            key,
        )))
    }

    pub(super) fn server(&self, trust: &Arc<TrustBundle>) -> Arc<ServerConfig> {
        Arc::new(material::server_config(self.certified(), trust, &still()).unwrap())
    }

    pub(super) fn client(&self, trust: &Arc<TrustBundle>, expected: &str) -> Arc<ClientConfig> {
        let mut config = material::client_config(self.certified(), trust, &still()).unwrap();
        let expected = vec![expected.parse().unwrap()];
        let verifier = super::verify::PeerVerifier::new(Arc::clone(trust), expected);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

/// What each side of a handshake says of it.
pub(super) struct Outcome {
    pub(super) client: Result<(), Error>,
    pub(super) server: Result<(), Error>,
    pub(super) client_connection: ClientConnection,
    pub(super) server_connection: ServerConnection,
}

/// A handshake in memory, until both sides have nothing more to say.
pub(super) fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Outcome {
    let name = ServerName::IpAddress(std::net::IpAddr::from([10, 0, 0, 1]).into());
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (mut of_client, mut of_server) = (Ok(()), Ok(()));
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        if of_server.is_ok() {
            of_server = take(&wire, |mut wire| {
                server.read_tls(&mut wire).unwrap();
                server.process_new_packets().map(drop)
            });
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        if of_client.is_ok() {
            of_client = take(&wire, |mut wire| {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets().map(drop)
            });
        }
    }
    Outcome {
        client: of_client,
        server: of_server,
        client_connection: client,
        server_connection: server,
    }
}

fn take(wire: &[u8], read: impl FnOnce(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    if wire.is_empty() { Ok(()) } else { read(wire) }
}

/// A CA that counts, waits and fails as told.
pub(super) struct Scripted<P> {
    pub(super) inner: P,
    pub(super) calls: AtomicUsize,
    pub(super) failures_left: AtomicUsize,
    pub(super) takes: Duration,
}

impl<P> Scripted<P> {
    pub(super) fn new(inner: P, takes: Duration) -> Arc<Self> {
        Arc::new(Self {
            inner,
            calls: AtomicUsize::new(0),
            failures_left: AtomicUsize::new(0),
            takes,
        })
    }
}

impl<P: CertProvider> CertProvider for Scripted<P> {
    fn sign<'a>(
        &'a self,
        identity: &'a SpiffeId,
        csr: &'a [u8],
    ) -> BoxFuture<'a, Result<IssuedCertificate, SignError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Relaxed);
            tokio::time::sleep(self.takes).await;
            if self.failures_left.load(Relaxed) > 0 {
                self.failures_left.fetch_sub(1, Relaxed);
                return Err("the CA is away".into());
            }
            self.inner.sign(identity, csr).await
        })
    }
}

/// Notes what it is told.
#[derive(Default)]
pub(super) struct Events(Mutex<Vec<String>>);

impl Events {
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, what: &str, identity: &SpiffeId) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{what} {}", identity.service_account()));
    }
}

impl CertificateEvents for Events {
    fn issued(&self, identity: &SpiffeId, _not_after: SystemTime) {
        self.note("issued", identity);
    }

    fn failed(&self, identity: &SpiffeId) {
        self.note("failed", identity);
    }

    fn removed(&self, identity: &SpiffeId) {
        self.note("removed", identity);
    }
}
