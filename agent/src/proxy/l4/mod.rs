//! Opaque TCP: what happens to one connection, from accept to its end.
//!
//! ```text
//! outbound::serve   a captured pod's application dialled
//!   original destination → service → endpoint → same node | tunnel | plain
//! inbound::serve    a connection reached a captured pod
//!   tunnel::serve     port 15008: mutual TLS, HTTP/2 CONNECT, each stream to the application
//!   plaintext         any other port: what PeerAuthentication says, then to the application
//! ```

mod endpoint;
pub(super) mod inbound;
pub(super) mod outbound;
pub(super) mod reach;
mod tunnel;

use std::net::SocketAddr;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::model::seams::ProbeToken;

/// A connection as it comes from a listener.
pub struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
}

/// Proves to the agent's own probe that capture leads here.
async fn answer_probe(mut stream: TcpStream, token: &ProbeToken) {
    // The prober sees and tells of whatever goes wrong.
    let _ = stream.write_all(token).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests;
