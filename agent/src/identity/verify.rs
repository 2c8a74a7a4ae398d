//! Whom a TLS connection accepts.
//!
//! Both sides: the chain must lead to a trusted root, and the certificate must carry exactly one
//! URI name, a SPIFFE ID of the shape `spiffe://<domain>/ns/<namespace>/sa/<account>`. A server
//! takes any identity of an accepted trust domain (what it may do is for policies to say); a
//! client takes only the identities that it expects at the address it dialled.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite, kx_group},
        verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{
    error::IdentityError,
    failure::{PeerRefused, TlsFailure},
    trust::{Trust, TrustBundle},
};
use crate::model::spiffe::SpiffeId;

/// What HBONE peers speak (TLS 1.3 only): the post-quantum hybrid first, X25519 for peers
/// without it. ChaCha20 is left out as in ztunnel: AES has hardware wherever nodes run.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_AES_128_GCM_SHA256,
            ],
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// How much of a URI name that is no identity is told.
const URI_CHARS_SHOWN: usize = 128;

/// The workload identity that a certificate carries. Says nothing of whether to believe it: that
/// is the verifiers' part, which a finished handshake has gone through.
///
/// # Errors
/// When the certificate cannot be parsed or does not have exactly one URI name of the exact
/// shape. Names of other kinds are allowed beside it (X509-SVID §2).
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<SpiffeId, IdentityError> {
    let unreadable = |error: &dyn fmt::Display| IdentityError::Certificate(error.to_string());
    let (rest, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
    if !rest.is_empty() {
        return Err(unreadable(&"bytes follow the certificate"));
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| unreadable(&error))?
        .map(|extension| &extension.value.general_names);
    let mut uris = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let Some(uri) = uris.next() else {
        return Err(IdentityError::UriNames(0));
    };
    let others = uris.count();
    if others > 0 {
        return Err(IdentityError::UriNames(1 + others));
    }
    uri.parse().map_err(|source| IdentityError::NotSpiffe {
        // It is the peer's text and ends up in logs.
        name: uri.chars().take(URI_CHARS_SHOWN).collect(),
        source,
    })
}

/// The identity of a peer whose chain is good, if it is in a trust domain that is accepted.
fn accepted_identity(trust: &Trust, certificate: &CertificateDer<'_>) -> Result<SpiffeId, Error> {
    let identity = peer_identity(certificate).map_err(|error| PeerRefused::bad_san(&error))?;
    if !trust.accepts_domain(identity.trust_domain()) {
        return Err(PeerRefused {
            failure: TlsFailure::WrongTrustDomain,
            detail: format!(
                "{identity} is outside the accepted trust domains {:?}; add it to MeshConfig's trustDomainAliases if it belongs to the mesh",
                trust.domains
            ),
        }
        .into());
    }
    Ok(identity)
}

/// A chain whose signature does not fit comes from a root of the same name and another key: what
/// two agents have that each made their own. To a person that is an untrusted root.
fn of_chain(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        error => error,
    }
}

/// The client's side: accepts a server that proves one of the expected identities.
///
/// One is made for each dial, which is cheap beside a handshake. The alternative, one shared
/// verifier and a comparison after the handshake, would show this workload's certificate to
/// whoever has the address, and let a wrong peer believe that it had been accepted.
#[derive(Debug)]
pub struct PeerVerifier {
    trust: Arc<TrustBundle>,
    expected: Vec<SpiffeId>,
}

impl PeerVerifier {
    pub fn new(trust: Arc<TrustBundle>, expected: Vec<SpiffeId>) -> Self {
        Self { trust, expected }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // HBONE sends no SNI and the host name plays no part: identities are SPIFFE IDs.
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = self.trust.load();
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &trust.roots,
            intermediates,
            now,
            crypto_provider().signature_verification_algorithms.all,
        )
        .map_err(of_chain)?;
        let identity = accepted_identity(&trust, end_entity)?;
        if !self.expected.contains(&identity) {
            return Err(PeerRefused {
                failure: TlsFailure::IdentityMismatch,
                detail: format!("expected {:?}, the peer is {identity}", self.expected),
            }
            .into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &crypto_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &crypto_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The server's side: demands a certificate, and an identity of an accepted trust domain.
#[derive(Debug)]
pub struct ClientVerifier {
    trust: Arc<TrustBundle>,
}

impl ClientVerifier {
    pub fn new(trust: Arc<TrustBundle>) -> Self {
        Self { trust }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: a client has one certificate and needs no hint to choose, and the roots are not for
    /// everybody who opens a connection to read.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let trust = self.trust.load();
        let verified = trust
            .clients
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(of_chain)?;
        accepted_identity(&trust, end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust
            .load()
            .clients
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust
            .load()
            .clients
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
