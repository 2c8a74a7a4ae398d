//! Mutual TLS with peers of the mesh.

mod records;
mod stream;

use std::{io, sync::Arc, time::Duration};

use rustls::{
    CommonState, client::UnbufferedClientConnection, pki_types::ServerName,
    server::UnbufferedServerConnection,
};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};

use self::{records::Records, stream::TlsStream};
use super::limits::TLS_HANDSHAKE_TIMEOUT;
/// A pod's certificate, always the current one: what the proxy holds for its pods.
pub use crate::identity::IdentityHandle;
use crate::{
    identity::{ALPN_H2, Material, TlsFailure, describe, peer_identity},
    model::spiffe::SpiffeId,
    telemetry::Reason,
};

/// A connection to a peer.
pub type ClientStream = TlsStream<UnbufferedClientConnection>;
/// A connection from a peer.
pub type ServerStream = TlsStream<UnbufferedServerConnection>;

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

    fn new(error: rustls::Error) -> Self {
        Self {
            failure: TlsFailure::of(&error),
            detail: error.to_string(),
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
    socket: TcpStream,
    material: &Material,
    expected: &SpiffeId,
) -> Result<ClientStream, TlsError> {
    let address = socket
        .peer_addr()
        .map_err(|error| TlsError::from_io(&error))?;
    let config = material.client_config(vec![expected.clone()]);
    let connection = UnbufferedClientConnection::new(config, ServerName::from(address.ip()))
        .map_err(TlsError::new)?;
    let stream = handshake(TlsStream::new(socket, connection)).await?;
    check_protocol(stream.state())?;
    Ok(stream)
}

/// As a server: the peer must prove an identity of the mesh, which is returned.
pub async fn accept(
    socket: TcpStream,
    material: &Material,
) -> Result<(ServerStream, SpiffeId), TlsError> {
    let config = Arc::clone(material.server_config());
    let connection = UnbufferedServerConnection::new(config).map_err(TlsError::new)?;
    let stream = handshake(TlsStream::new(socket, connection)).await?;
    check_protocol(stream.state())?;
    let identity = proven_identity(stream.state())?;
    Ok((stream, identity))
}

async fn handshake<C: Records>(mut stream: TlsStream<C>) -> Result<TlsStream<C>, TlsError> {
    match timeout(TLS_HANDSHAKE_TIMEOUT, stream.handshake()).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(error)) => Err(TlsError::from_io(&error)),
        Err(_elapsed) => Err(TlsError::timeout(TLS_HANDSHAKE_TIMEOUT)),
    }
}

/// rustls accepts a peer that offers no protocol at all.
fn check_protocol(state: &CommonState) -> Result<(), TlsError> {
    if state.alpn_protocol() == Some(ALPN_H2) {
        return Ok(());
    }
    Err(TlsError {
        failure: TlsFailure::Incompatible,
        detail: "the peer does not offer h2".into(),
    })
}

fn proven_identity(state: &CommonState) -> Result<SpiffeId, TlsError> {
    let refused = |failure, detail| TlsError { failure, detail };
    let leaf = state.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or_else(|| {
        let detail = "the peer gave no certificate".into();
        refused(TlsFailure::NoCertificate, detail)
    })?;
    peer_identity(leaf).map_err(|error| refused(TlsFailure::BadSan, error.to_string()))
}
