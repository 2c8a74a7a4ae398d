//! Why an identity could not be had or believed.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::model::{
    seams::SignError,
    spiffe::{SpiffeError, SpiffeId},
};

#[derive(Debug, Error)]
pub enum IdentityError {
    #[error(
        "cannot {action} {path}: {source}; the agent needs its state folder and CA files, see --state, --ca-cert, --ca-key"
    )]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error("{path} is larger than {limit} bytes and cannot be a certificate or key file")]
    FileTooLarge { path: PathBuf, limit: u64 },

    #[error(
        "{path} is not readable as PEM: {cause}; expected blocks of -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----"
    )]
    Pem { path: PathBuf, cause: String },

    #[error(
        "{path} has no certificate; give a PEM file with the CA's certificate first, then its chain"
    )]
    NoCertificate { path: PathBuf },

    #[error(
        "{path} has no private key; give a PEM file with the CA's key (PKCS #8, SEC 1 or PKCS #1, not encrypted)"
    )]
    NoKey { path: PathBuf },

    #[error(
        "the private key in {path} cannot be used: {cause}; supported are ECDSA P-256, P-384, P-521, Ed25519 and RSA"
    )]
    BadKey { path: PathBuf, cause: String },

    #[error("the first certificate in {path} cannot be used as a CA: {cause}")]
    BadCa { path: PathBuf, cause: CaFault },

    #[error(
        "the key in {key} does not belong to the first certificate in {cert}; give the pair that belongs together"
    )]
    KeyMismatch { cert: PathBuf, key: PathBuf },

    #[error("a certificate is not readable: {0}")]
    Certificate(String),

    #[error("a workload's certificate has exactly one URI name, this one has {0}")]
    UriNames(usize),

    #[error("the URI name {name:?} is no workload identity: {source}")]
    NotSpiffe { name: String, source: SpiffeError },

    #[error("the embedded CA could not make a certificate: {0}")]
    Generate(#[from] rcgen::Error),

    #[error(
        "the embedded CA expired at {at}; give a new one with --ca-cert and --ca-key, or where the agent made it itself remove the file and restart"
    )]
    CaExpired { at: String },

    #[error("the operating system gave no random bytes")]
    Random,

    #[error("TLS cannot be set up with the certificate for {identity}: {source}")]
    Tls {
        identity: SpiffeId,
        source: rustls::Error,
    },

    #[error("the CA did not sign a certificate for {identity}: {source}; it is tried again")]
    Sign {
        identity: SpiffeId,
        source: SignError,
    },

    #[error(
        "the CA did not answer within {seconds} s when asked for {identity}; it is tried again"
    )]
    SignTimeout { identity: SpiffeId, seconds: u64 },

    #[error(
        "the CA's answer for {identity} cannot be used: {cause}; look at the CA's configuration"
    )]
    BadAnswer { identity: SpiffeId, cause: String },

    #[error("no trusted root is left: a trust bundle needs at least one")]
    NoRoots,

    #[error(
        "{limit} identities are in use on this node, more than pods can be; {identity} is refused"
    )]
    TooMany { identity: SpiffeId, limit: usize },
}

/// Why a certificate cannot sign others.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaFault {
    #[error("it cannot be parsed ({0})")]
    Unreadable(String),
    #[error(
        "it is no CA certificate (basicConstraints CA:TRUE is missing); give the issuing CA's certificate, not a server's"
    )]
    NotCa,
    #[error("its keyUsage does not allow keyCertSign; issue the CA certificate with it")]
    NoCertSign,
    #[error(
        "it expired at {0}; renew it, or where the agent made it itself remove the file and restart"
    )]
    Expired(String),
    #[error("it is valid only from {0}; look at this node's clock")]
    NotYetValid(String),
    #[error("the certificates after it do not lead from it to a root: {0}")]
    Chain(String),
}
