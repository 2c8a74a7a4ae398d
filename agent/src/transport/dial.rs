//! TCP connections from a pod's network namespace.

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use thiserror::Error;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::limits::USER_TIMEOUT;
use crate::{model::seams::PodNet, telemetry::Reason};

/// Why an endpoint could not be reached. Nothing was sent to it.
#[derive(Clone, Debug, Error)]
pub enum DialError {
    #[error("{0} refuses the connection")]
    Refused(SocketAddr),
    #[error("{0} does not answer")]
    Timeout(SocketAddr),
    #[error("{0} cannot be reached: {1}")]
    Failed(SocketAddr, String),
    #[error("no socket in the pod's network namespace: {0}")]
    Socket(String),
}

impl DialError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(_) => Reason::ConnectRefused,
            Self::Timeout(_) => Reason::ConnectTimeout,
            Self::Failed(..) => Reason::ConnectFailed,
            Self::Socket(_) => Reason::Internal,
        }
    }

    fn from_io(to: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            // A reset in answer to a SYN-ACK's ACK is a refusal as well.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused(to),
            io::ErrorKind::TimedOut => Self::Timeout(to),
            _ => Self::Failed(to, error.to_string()),
        }
    }
}

/// Connects from the pod's namespace. Where `to` is in the same pod, its application sees
/// `shown_as` as its client.
pub async fn dial(
    net: &dyn PodNet,
    to: SocketAddr,
    shown_as: Option<SocketAddr>,
    deadline: Duration,
) -> Result<TcpStream, DialError> {
    let socket = net
        .socket(to, shown_as)
        .map_err(|error| DialError::Socket(error.to_string()))?;
    let connect = TcpSocket::from_std_stream(socket.into()).connect(to);
    let stream = match timeout(deadline, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(DialError::from_io(to, &error)),
        Err(_elapsed) => return Err(DialError::Timeout(to)),
    };
    tune(&stream);
    Ok(stream)
}

/// Small writes go out at once; a peer that vanished is noticed. Failing either is no reason to
/// fail the connection.
pub fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

/// Makes the coming close a reset: what the kernel says where nothing listens, or where a peer
/// gave up.
pub fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
