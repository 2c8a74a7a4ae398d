//! Accepting, without giving up when the process runs out of descriptors.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

/// How long to wait after EMFILE and the like: others must close something first.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Waits for the next connection.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// accept(2): errors of the connection that was waiting, not of the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
