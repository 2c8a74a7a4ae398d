//! UDP, which the mesh leaves alone.

use std::net::{SocketAddr, UdpSocket};

use serde_json::json;

use crate::{
    Outcome,
    io::{STEP_TIMEOUT, tell},
};

pub(crate) fn serve(addr: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind(addr)?;
    tell(&json!({"event": "listening", "addr": socket.local_addr()?}));
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        tell(&json!({"event": "datagram", "peer": peer}));
        socket.send_to(&buffer[..length], peer)?;
    }
}

/// A connected UDP socket.
pub(crate) fn talk(addr: SocketAddr, text: &str) -> Outcome {
    let unspecified = if addr.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(unspecified)?;
    socket.set_read_timeout(Some(STEP_TIMEOUT))?;
    socket.connect(addr)?;
    let (peer, local) = (socket.peer_addr()?, socket.local_addr()?);
    tell(&json!({"event": "connected", "peer": peer, "local": local}));
    socket.send(text.as_bytes())?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    let received = String::from_utf8_lossy(&buffer[..length]);
    tell(&json!({"event": "answered", "peer": peer, "local": local, "received": received}));
    Ok(())
}
