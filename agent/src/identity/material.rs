//! A certificate and its key, made into what a TLS connection needs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
    version::TLS13,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use super::{
    error::IdentityError,
    trust::TrustBundle,
    verify::{ClientVerifier, PeerVerifier, crypto_provider, peer_identity},
};
use crate::model::{
    seams::{CertProvider, Clock},
    spiffe::SpiffeId,
};

/// The protocol of tunnels.
pub const ALPN_H2: &[u8] = b"h2";

/// How long a CA may take to answer.
pub(super) const SIGN_TIMEOUT: Duration = Duration::from_secs(20);

/// Certificates that a CA may put into one chain.
const CHAIN_CERTIFICATES_MAX: usize = 8;

/// One certificate of one identity, ready for use on both sides of a connection.
///
/// The private key is inside rustls' signer, in memory of AWS-LC that is wiped when it is freed:
/// when the certificate has been renewed and the last handshake with it is over.
pub struct Material {
    identity: SpiffeId,
    not_before: SystemTime,
    not_after: SystemTime,
    trust: Arc<TrustBundle>,
    server: Arc<ServerConfig>,
    client: ClientConfig,
}

impl Material {
    /// Makes a key, has `provider` sign a certificate for it and checks the answer.
    pub(super) async fn issue(
        identity: &SpiffeId,
        provider: &dyn CertProvider,
        trust: &Arc<TrustBundle>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let key = Zeroizing::new(rcgen::KeyPair::generate()?);
        let csr = signing_request(&key)?;
        let issued = tokio::time::timeout(SIGN_TIMEOUT, provider.sign(identity, &csr))
            .await
            .map_err(|_| IdentityError::SignTimeout {
                identity: identity.clone(),
                seconds: SIGN_TIMEOUT.as_secs(),
            })?
            .map_err(|source| IdentityError::Sign {
                identity: identity.clone(),
                source,
            })?;
        let chain = issued.chain.into_iter().map(CertificateDer::from).collect();
        Self::new(identity.clone(), chain, &key, trust, clock)
    }

    fn new(
        identity: SpiffeId,
        chain: Vec<CertificateDer<'static>>,
        key: &rcgen::KeyPair,
        trust: &Arc<TrustBundle>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let (not_before, not_after) = check_answer(&identity, &chain, clock.wall())?;
        let tls = |source| IdentityError::Tls {
            identity: identity.clone(),
            source,
        };
        // Borrowed: the only copy of the encoded key is the one in `key`, which is wiped.
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der()));
        let certified = CertifiedKey::new(chain, any_ecdsa_type(&der).map_err(tls)?);
        certified.keys_match().map_err(tls)?;
        let certified = Arc::new(SingleCertAndKey::from(certified));
        let server = server_config(Arc::clone(&certified), trust, clock).map_err(tls)?;
        let client = client_config(certified, trust, clock).map_err(tls)?;
        Ok(Self {
            not_before,
            not_after,
            trust: Arc::clone(trust),
            server: Arc::new(server),
            client,
            identity,
        })
    }

    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    pub(super) fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// For accepting tunnels: demands a client certificate of an accepted trust domain.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// For one dial: accepts only a server that proves one of `expected`. Costs two dozen
    /// reference counts, nothing beside a handshake. rustls wants a server name; it plays no part
    /// and is not sent: give it the address.
    pub fn client_config(&self, expected: Vec<SpiffeId>) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        let verifier = PeerVerifier::new(Arc::clone(&self.trust), expected);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("identity", &self.identity)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A request that proves the key and says nothing else.
fn signing_request(key: &rcgen::KeyPair) -> Result<Vec<u8>, IdentityError> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// A CA's answer is input as any other: what does not fit is refused here and not by every peer.
fn check_answer(
    identity: &SpiffeId,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), IdentityError> {
    let bad = |cause: String| IdentityError::BadAnswer {
        identity: identity.clone(),
        cause,
    };
    let leaf = chain
        .first()
        .ok_or_else(|| bad("it holds no certificate".into()))?;
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(bad(format!(
            "it holds more than {CHAIN_CERTIFICATES_MAX} certificates"
        )));
    }
    let named = peer_identity(leaf).map_err(|error| bad(error.to_string()))?;
    if named != *identity {
        return Err(bad(format!("the certificate is for {named}")));
    }
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| bad(error.to_string()))?;
    let validity = parsed.validity();
    let time = |time: x509_parser::time::ASN1Time| SystemTime::from(time.to_datetime());
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    if not_after <= now {
        return Err(bad(
            "the certificate has already expired; look at both clocks".into(),
        ));
    }
    Ok((not_before, not_after))
}

/// rustls reads the same clock as everything else.
#[derive(Clone)]
struct WallClock(Arc<dyn Clock>);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = self.0.wall().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

// No resumption on either side: a resumed session would skip the peer's certificate, and with it
// its expiry, a changed trust bundle and the identity expected at this address. Tunnels are kept
// open and shared, so full handshakes are rare.

pub(super) fn server_config(
    certified: Arc<SingleCertAndKey>,
    trust: &Arc<TrustBundle>,
    clock: &Arc<dyn Clock>,
) -> Result<ServerConfig, rustls::Error> {
    let clock = Arc::new(WallClock(Arc::clone(clock)));
    let mut config = ServerConfig::builder_with_details(crypto_provider(), clock)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(Arc::clone(trust))))
        .with_cert_resolver(certified);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts nobody until [`Material::client_config`] says who is expected.
pub(super) fn client_config(
    certified: Arc<SingleCertAndKey>,
    trust: &Arc<TrustBundle>,
    clock: &Arc<dyn Clock>,
) -> Result<ClientConfig, rustls::Error> {
    let clock = Arc::new(WallClock(Arc::clone(clock)));
    let nobody = PeerVerifier::new(Arc::clone(trust), Vec::new());
    let mut config = ClientConfig::builder_with_details(crypto_provider(), clock)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(nobody))
        .with_client_cert_resolver(certified);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}
