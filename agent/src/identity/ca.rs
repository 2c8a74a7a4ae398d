//! The embedded CA: signs for the pods of this node with a root of its own, or one given to it.

mod files;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::{
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, CertificateSigningRequestDer, UnixTime},
    server::ParsedCertificate,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use super::{
    error::{CaFault, IdentityError},
    random,
    trust::TrustBundle,
    verify::crypto_provider,
};
use crate::model::{
    seams::{BoxFuture, CertProvider, Clock, IssuedCertificate, SignError},
    spiffe::SpiffeId,
};

/// How long a workload's certificate is good for.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How far a certificate reaches into the past, for peers whose clock is behind.
pub const LEAF_BACKDATE: Duration = Duration::from_secs(60);
/// How long a root is good for that the agent made itself.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The root that an agent makes for itself, below its state folder: certificate and key in one
/// file, so that there is never one without the other.
pub const STATE_FILE: &str = "ca.pem";

/// A CA in this process.
pub struct EmbeddedCa {
    issuer: Issuer<'static, CaKey>,
    not_after: SystemTime,
    /// Sent after the leaf: this CA's own certificate unless it is a root, and what leads up.
    intermediates: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    clock: Arc<dyn Clock>,
}

impl EmbeddedCa {
    /// The root in `state_dir`, made there if there is none. Two agents that start on one folder
    /// at the same time end up with the same root.
    ///
    /// # Errors
    /// When the folder or file cannot be made or read, or holds something else than a CA.
    pub fn load_or_create(
        state_dir: &Path,
        trust_domain: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let path = state_dir.join(STATE_FILE);
        if !files::exists(&path)? {
            let pem = new_root(trust_domain, clock.wall())?;
            if files::create_private(state_dir, &path, pem.as_bytes())? {
                tracing::info!(path = %path.display(), trust_domain, "made a new root for this agent; others trust it only if they are given it");
            }
        }
        Self::from_files(&path, &path, trust_domain, clock)
    }

    /// A CA given as PEM files: in `cert` the CA's certificate first, then what leads from it to
    /// the root; in `key` its key. Both may be one file. Without a root in the file, the last
    /// certificate of the chain is what is trusted.
    ///
    /// # Errors
    /// When the files cannot be read, do not belong together, or what they hold cannot sign
    /// certificates that peers with the same files would accept (which is tried).
    pub fn from_files(
        cert: &Path,
        key: &Path,
        trust_domain: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let certificates = files::read_certificates(cert)?;
        let key_pair = CaKey(Zeroizing::new(files::read_key(key)?));
        let bad = |cause| IdentityError::BadCa {
            path: cert.to_owned(),
            cause,
        };
        let own = certificates
            .first()
            .ok_or_else(|| IdentityError::NoCertificate {
                path: cert.to_owned(),
            })?;
        let (key_of_certificate, not_after) = check_ca(own, clock.wall()).map_err(bad)?;
        if key_of_certificate != key_pair.der_bytes() {
            return Err(IdentityError::KeyMismatch {
                cert: cert.to_owned(),
                key: key.to_owned(),
            });
        }
        let unreadable = |error: rcgen::Error| bad(CaFault::Unreadable(error.to_string()));
        let issuer = Issuer::from_ca_cert_der(own, key_pair).map_err(unreadable)?;
        let (roots, intermediates) = split_chain(certificates).map_err(bad)?;
        let ca = Self {
            issuer,
            not_after,
            intermediates,
            roots,
            clock,
        };
        ca.check_own_work(cert.to_owned(), trust_domain)?;
        Ok(ca)
    }

    /// What peers have to trust to believe this CA.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Signs `csr` (PKCS #10, DER), of which only the public key counts, for `identity`.
    ///
    /// # Errors
    /// When the request is not signed by its own key, or the CA has expired.
    pub fn sign_request(
        &self,
        identity: &SpiffeId,
        csr: &[u8],
    ) -> Result<IssuedCertificate, IdentityError> {
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))?;
        let leaf = self.sign_key(identity, &request.public_key)?;
        let chain = std::iter::once(&leaf).chain(&self.intermediates);
        Ok(IssuedCertificate {
            chain: chain.map(|certificate| certificate.to_vec()).collect(),
        })
    }

    fn sign_key(
        &self,
        identity: &SpiffeId,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let now = self.clock.wall();
        // A leaf that outlives its CA would be refused by peers with no clear reason.
        let not_after = (now + LEAF_LIFETIME).min(self.not_after);
        if not_after <= now {
            return Err(IdentityError::CaExpired {
                at: date(self.not_after),
            });
        }
        let params = leaf_params(identity, now - LEAF_BACKDATE, not_after)?;
        Ok(params.signed_by(key, &self.issuer)?.into())
    }

    /// Signs a throw-away certificate and holds it against the roots, as a peer would: a name
    /// constraint, a path length or a chain in the wrong order shows at start and not in traffic.
    fn check_own_work(&self, path: PathBuf, trust_domain: &str) -> Result<(), IdentityError> {
        let identity = SpiffeId::new(trust_domain, "weir-system", "self-check");
        let key = Zeroizing::new(KeyPair::generate()?);
        let leaf = self.sign_key(&identity, &*key)?;
        let trust = TrustBundle::new(&self.roots, trust_domain.into())?;
        let now = self
            .clock
            .wall()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        ParsedCertificate::try_from(&leaf)
            .and_then(|leaf| {
                verify_server_cert_signed_by_trust_anchor(
                    &leaf,
                    &trust.load().roots,
                    &self.intermediates,
                    UnixTime::since_unix_epoch(now),
                    crypto_provider().signature_verification_algorithms.all,
                )
            })
            .map_err(|error| IdentityError::BadCa {
                path,
                cause: CaFault::Chain(error.to_string()),
            })
    }
}

impl CertProvider for EmbeddedCa {
    fn sign<'a>(
        &'a self,
        identity: &'a SpiffeId,
        csr: &'a [u8],
    ) -> BoxFuture<'a, Result<IssuedCertificate, SignError>> {
        Box::pin(async move { self.sign_request(identity, csr).map_err(SignError::from) })
    }
}

impl fmt::Debug for EmbeddedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedCa")
            .field("not_after", &self.not_after)
            .field("intermediates", &self.intermediates.len())
            .finish_non_exhaustive()
    }
}

/// The CA's key: wiped when dropped, never printed.
struct CaKey(Zeroizing<KeyPair>);

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// A P-256 root, certificate and key, as PEM.
fn new_root(trust_domain: &str, now: SystemTime) -> Result<Zeroizing<String>, IdentityError> {
    let key = Zeroizing::new(KeyPair::generate()?);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let serial = random_serial()?;
    // A name of its own: roots that agents made for themselves are told apart by it.
    let name = format!("Weir root of {trust_domain} {}", &serial.to_string()[..11]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::from(now - LEAF_BACKDATE);
    params.not_after = OffsetDateTime::from(now + ROOT_LIFETIME);
    let certificate = params.self_signed(&*key)?;
    let key_pem = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(
        [certificate.pem().as_str(), key_pem.as_str()].concat(),
    ))
}

/// An X509-SVID: the SPIFFE ID as the only name, no subject (which makes the name critical).
fn leaf_params(
    identity: &SpiffeId,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into()?)];
    params.serial_number = Some(random_serial()?);
    params.is_ca = IsCa::NoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::from(not_before);
    params.not_after = OffsetDateTime::from(not_after);
    Ok(params)
}

/// 127 random bits: positive, and never the same twice (RFC 5280 §4.1.2.2).
fn random_serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The public key of a certificate that may sign others now, and when it ends.
fn check_ca(
    certificate: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<(Vec<u8>, SystemTime), CaFault> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| CaFault::Unreadable(error.to_string()))?;
    if !parsed.is_ca() {
        return Err(CaFault::NotCa);
    }
    let usage = parsed
        .key_usage()
        .map_err(|error| CaFault::Unreadable(error.to_string()))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(CaFault::NoCertSign);
    }
    let validity = parsed.validity();
    let not_before = SystemTime::from(validity.not_before.to_datetime());
    let not_after = SystemTime::from(validity.not_after.to_datetime());
    if now < not_before {
        return Err(CaFault::NotYetValid(date(not_before)));
    }
    if not_after <= now {
        return Err(CaFault::Expired(date(not_after)));
    }
    Ok((
        parsed.public_key().subject_public_key.data.to_vec(),
        not_after,
    ))
}

type Certificates = Vec<CertificateDer<'static>>;

/// Roots (those that issued themselves) and what is sent along. Where there is no root, peers
/// are to trust the last certificate, and it is still sent: a peer may know only its issuer.
fn split_chain(certificates: Certificates) -> Result<(Certificates, Certificates), CaFault> {
    let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
    for certificate in certificates {
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| CaFault::Unreadable(error.to_string()))?;
        if parsed.issuer() == parsed.subject() {
            roots.push(certificate);
        } else {
            intermediates.push(certificate);
        }
    }
    if roots.is_empty() {
        roots.extend(intermediates.last().cloned());
    }
    Ok((roots, intermediates))
}

fn date(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
