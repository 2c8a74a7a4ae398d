//! What can go wrong in a TLS handshake between agents, as a closed set.

use std::{error::Error as _, fmt, io};

use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::error::IdentityError;

/// Why a handshake failed: the label `reason` of `weir_tls_handshake_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The peer's certificate is over. Its agent could not renew, or a clock is wrong.
    Expired,
    /// The peer's certificate is not valid yet: a clock is wrong.
    NotYetValid,
    /// No trusted root signed the peer's certificate: the agents have different roots.
    UntrustedRoot,
    /// The peer's identity lies in a trust domain that is not accepted here.
    WrongTrustDomain,
    /// The peer's certificate does not carry exactly one workload identity.
    BadSan,
    /// The peer proved an identity that was not the one expected at this address.
    IdentityMismatch,
    /// The peer gave no certificate.
    NoCertificate,
    /// The peer's certificate is bad in another way: encoding, signature, purpose.
    BadCertificate,
    /// The peer refused this agent's certificate (it sent an alert that says so).
    RejectedByPeer,
    /// The peer did not finish the handshake in time.
    HandshakeTimeout,
    /// The connection ended within the handshake, without an alert.
    ConnectionLost,
    /// No TLS version, cipher suite, key exchange or ALPN protocol in common.
    Incompatible,
    /// What came was not TLS, or broke its rules.
    Protocol,
}

impl TlsFailure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UntrustedRoot => "untrusted_root",
            Self::WrongTrustDomain => "wrong_trust_domain",
            Self::BadSan => "bad_san",
            Self::IdentityMismatch => "identity_mismatch",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::RejectedByPeer => "rejected_by_peer",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
        }
    }

    /// Classifies what rustls says.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Protocol,
        }
    }

    /// Classifies an error of a TLS stream.
    ///
    /// In TLS 1.3 a client's handshake is over before the server has looked at the client's
    /// certificate. A refusal then arrives with the first read: errors from there go here as well.
    pub fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
        {
            return Self::of(tls);
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::HandshakeTimeout,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::ConnectionLost,
            _ => Self::Protocol,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::UnknownIssuer => Self::UntrustedRoot,
            CertificateError::Other(OtherError(inner)) => inner
                .downcast_ref::<PeerRefused>()
                .map_or(Self::BadCertificate, |e| e.failure),
            _ => Self::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::RejectedByPeer,
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict of Weir's own on a peer whose chain is good. It travels through rustls as an opaque
/// error and is found again by [`TlsFailure::of`].
#[derive(Debug)]
pub(super) struct PeerRefused {
    pub(super) failure: TlsFailure,
    pub(super) detail: String,
}

impl PeerRefused {
    pub(super) fn bad_san(error: &IdentityError) -> Error {
        Self {
            failure: TlsFailure::BadSan,
            detail: error.to_string(),
        }
        .into()
    }
}

impl From<PeerRefused> for Error {
    fn from(refused: PeerRefused) -> Self {
        let inner = std::sync::Arc::new(refused);
        Self::InvalidCertificate(CertificateError::Other(OtherError(inner)))
    }
}

impl fmt::Display for PeerRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for PeerRefused {}

/// What to tell a person of a failed handshake: rustls' words, or Weir's where it decided.
pub fn describe(error: &io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => other
            .source()
            .map_or_else(|| other.to_string(), ToString::to_string),
        Some(tls) => tls.to_string(),
        None => error.to_string(),
    }
}
