//! Whom this agent trusts: roots and trust domains, changed live.

use std::{fmt, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{error::IdentityError, verify::crypto_provider};

/// The roots and trust domains that peers are held against.
///
/// Read without a lock by every handshake. Several roots may be in it: while a root is replaced,
/// old and new overlap. Has one writer, the control side.
pub struct TrustBundle(ArcSwap<Trust>);

/// One state of the bundle.
pub(super) struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    /// Chains of clients; holds the same roots.
    pub(super) clients: Arc<dyn ClientCertVerifier>,
    /// The mesh's own first, then its aliases.
    pub(super) domains: Vec<Arc<str>>,
}

impl TrustBundle {
    /// # Errors
    /// When `roots` is empty or holds something that is no certificate.
    pub fn new(
        roots: &[CertificateDer<'_>],
        trust_domain: Arc<str>,
    ) -> Result<Arc<Self>, IdentityError> {
        let trust = Trust::new(roots, vec![trust_domain])?;
        Ok(Arc::new(Self(ArcSwap::from_pointee(trust))))
    }

    /// Trusts `roots` from the next handshake on, and no others.
    ///
    /// # Errors
    /// As [`Self::new`]; the bundle then stays as it was.
    pub fn set_roots(&self, roots: &[CertificateDer<'_>]) -> Result<(), IdentityError> {
        let trust = Trust::new(roots, self.0.load().domains.clone())?;
        self.0.store(Arc::new(trust));
        Ok(())
    }

    /// Accepts identities of `aliases` beside the mesh's own trust domain
    /// (`MeshConfig.spec.trustDomainAliases`), from the next handshake on.
    pub fn set_aliases(&self, aliases: &[Arc<str>]) {
        let now = self.0.load_full();
        let own = now.domains.first().into_iter();
        let domains = own.chain(aliases).cloned().collect();
        let trust = Trust {
            roots: now.roots.clone(),
            clients: now.clients.clone(),
            domains,
        };
        self.0.store(Arc::new(trust));
    }

    pub fn accepts_domain(&self, trust_domain: &str) -> bool {
        self.0.load().accepts_domain(trust_domain)
    }

    pub(super) fn load(&self) -> Guard<Arc<Trust>> {
        self.0.load()
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust = self.0.load();
        f.debug_struct("TrustBundle")
            .field("roots", &trust.roots.len())
            .field("domains", &trust.domains)
            .finish()
    }
}

impl Trust {
    fn new(roots: &[CertificateDer<'_>], domains: Vec<Arc<str>>) -> Result<Self, IdentityError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            let root = root.clone().into_owned();
            store
                .add(root)
                .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        }
        let roots = Arc::new(store);
        let provider: Arc<CryptoProvider> = crypto_provider();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider)
            .build()
            .map_err(|_| IdentityError::NoRoots)?;
        Ok(Self {
            roots,
            clients,
            domains,
        })
    }

    pub(super) fn accepts_domain(&self, trust_domain: &str) -> bool {
        self.domains
            .iter()
            .any(|domain| domain.as_ref() == trust_domain)
    }
}
