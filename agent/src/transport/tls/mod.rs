//! Mutual TLS with peers of the mesh.

mod read_ahead;

use std::{io, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::limits::TLS_HANDSHAKE_TIMEOUT;
use crate::{
    identity::{ALPN_H2, Material, TlsFailure, describe, peer_identity},
    model::spiffe::SpiffeId,
    telemetry::Reason,
};

use self::read_ahead::ReadAhead;

pub type TlsStream = tokio_rustls::TlsStream<ReadAhead>;

/// Ciphertext that waits for the socket; what a large write is cut into.
const WRITE_BUFFER_BYTES: usize = 512 << 10;

/// Why a handshake failed.
#[derive(Clone, Debug, Error)]
#[error("TLS handshake: {detail}")]
pub struct TlsError {
    pub failure: TlsFailure,
    pub detail: String,
}

impl TlsError {
    fn timeout(limit: Duration) -> Self {
        Self {
            failure: TlsFailure::HandshakeTimeout,
            detail: format!("the peer did not finish it within {limit:?}"),
        }
    }

    pub fn from_io(error: &io::Error) -> Self {
        Self {
            failure: TlsFailure::of_io(error),
            detail: describe(error),
        }
    }

    pub fn reason(&self) -> Reason {
        match self.failure {
            TlsFailure::Expired | TlsFailure::NotYetValid => Reason::TlsCertificateExpired,
            TlsFailure::UntrustedRoot | TlsFailure::WrongTrustDomain => Reason::TlsUntrusted,
            TlsFailure::IdentityMismatch | TlsFailure::BadSan => Reason::TlsIdentityMismatch,
            TlsFailure::HandshakeTimeout => Reason::TlsHandshakeTimeout,
            _ => Reason::TlsHandshakeFailed,
        }
    }
}

/// As a client: the peer must prove that it is `expected`.
pub async fn connect(
    stream: TcpStream,
    material: &Material,
    expected: &SpiffeId,
) -> Result<TlsStream, TlsError> {
    let address = stream
        .peer_addr()
        .map_err(|error| TlsError::from_io(&error))?;
    let connector = TlsConnector::from(material.client_config(vec![expected.clone()]));
    let handshake = connector.connect(ServerName::from(address.ip()), ReadAhead::new(stream));
    match timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(mut stream)) => {
            let connection = stream.get_mut().1;
            connection.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
            check_protocol(connection.alpn_protocol())?;
            Ok(stream.into())
        }
        Ok(Err(error)) => Err(TlsError::from_io(&error)),
        Err(_elapsed) => Err(TlsError::timeout(TLS_HANDSHAKE_TIMEOUT)),
    }
}

/// rustls accepts a peer that offers no protocol at all.
fn check_protocol(agreed: Option<&[u8]>) -> Result<(), TlsError> {
    if agreed == Some(ALPN_H2) {
        return Ok(());
    }
    Err(TlsError {
        failure: TlsFailure::Incompatible,
        detail: "the peer does not offer h2".into(),
    })
}

/// As a server: the peer must prove an identity of the mesh, which is returned.
pub async fn accept(
    stream: TcpStream,
    material: &Material,
) -> Result<(TlsStream, SpiffeId), TlsError> {
    let acceptor = TlsAcceptor::from(Arc::clone(material.server_config()));
    let handshake = acceptor.accept(ReadAhead::new(stream));
    let mut stream = match timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(TlsError::from_io(&error)),
        Err(_elapsed) => return Err(TlsError::timeout(TLS_HANDSHAKE_TIMEOUT)),
    };
    let connection = stream.get_mut().1;
    connection.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
    check_protocol(connection.alpn_protocol())?;
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let identity = match leaf.map(peer_identity) {
        Some(Ok(identity)) => identity,
        Some(Err(error)) => {
            return Err(TlsError {
                failure: TlsFailure::BadSan,
                detail: error.to_string(),
            });
        }
        None => {
            return Err(TlsError {
                failure: TlsFailure::NoCertificate,
                detail: "the peer gave no certificate".into(),
            });
        }
    };
    Ok((stream.into(), identity))
}
