//! Listeners in a pod's network namespace, and dials from it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};
use weir_abi::{Addr, SockState};

use super::{netns::Netns, sys};
use crate::model::seams::{PodNet, ProbeError, ProbeToken};

/// Connections that wait to be accepted; the namespace's somaxconn bounds it too.
const BACKLOG: i32 = 4096;

/// Opens one listener for each data-plane thread, on loopback, at a port of the kernel's choice:
/// nothing reaches them but what `sk_lookup` steers there, which asks for neither address nor
/// port. They share the port (SO_REUSEPORT), and the kernel spreads connections over them.
pub(super) fn listeners(
    netns: &Netns,
    domain: Domain,
    count: usize,
) -> io::Result<Vec<TcpListener>> {
    netns.enter(|| {
        let loopback = match domain {
            Domain::IPV6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            _ => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let first = listener(domain, loopback)?;
        let shared = first.local_addr()?;
        let mut all = vec![first];
        for _ in 1..count {
            all.push(listener(domain, shared)?);
        }
        Ok(all)
    })
}

fn listener(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// [`PodNet`] of a captured pod.
pub(super) struct PodSockets {
    pub(super) netns: Netns,
    pub(super) socks: Arc<OwnedFd>,
    pub(super) own: Vec<SocketAddr>,
    pub(super) token: ProbeToken,
}

impl PodNet for PodSockets {
    fn socket(&self, to: SocketAddr, shown_as: Option<SocketAddr>) -> io::Result<OwnedFd> {
        let socket = self.netns.stream_socket(Domain::for_address(to))?;
        let (addr, port) = match shown_as {
            Some(client) => (Addr::from(client.ip().to_canonical()), client.port()),
            None => (Addr::NONE, 0),
        };
        let state = SockState::new(SockState::AGENT, addr, port, Addr::NONE);
        sys::set_sock_state(self.socks.as_fd(), socket.as_fd(), &state)?;
        Ok(socket.into())
    }

    fn probe(&self) -> Result<(), ProbeError> {
        super::probe::run(self)
    }
}
