//! Proves capture by dialling as an application would: with a socket that nothing exempts.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use weir_abi::{HBONE_PORT, PROBE_V4, PROBE_V6};

use super::sockets::PodSockets;
use crate::model::seams::{ProbeError, ProbeToken};

/// How long an answer may take. The data plane is on the same machine.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Any port will do: the address alone is special.
const PROBE_PORT: u16 = 9;

pub(super) fn run(pod: &PodSockets) -> Result<(), ProbeError> {
    for own in &pod.own {
        let outbound = match own.ip() {
            IpAddr::V4(_) => SocketAddr::new(PROBE_V4.into(), PROBE_PORT),
            IpAddr::V6(_) => SocketAddr::new(PROBE_V6.into(), PROBE_PORT),
        };
        dial(pod, "outbound", outbound)?;
        // The tunnel's port of the pod's own address is steered to the inbound listener even from
        // inside the pod.
        dial(pod, "inbound", SocketAddr::new(own.ip(), HBONE_PORT))?;
    }
    Ok(())
}

fn dial(pod: &PodSockets, direction: &'static str, to: SocketAddr) -> Result<(), ProbeError> {
    match answer(pod, to) {
        Ok(token) if token == pod.token => Ok(()),
        Ok(_) => Err(ProbeError {
            direction,
            reason: "another agent, or another process, answered".into(),
        }),
        Err(error) => Err(ProbeError {
            direction,
            reason: error.to_string(),
        }),
    }
}

fn answer(pod: &PodSockets, to: SocketAddr) -> io::Result<ProbeToken> {
    let socket = pod
        .netns
        .enter(|| Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)))?;
    socket.connect_timeout(&to.into(), PROBE_TIMEOUT)?;
    socket.set_read_timeout(Some(PROBE_TIMEOUT))?;
    let mut token = ProbeToken::default();
    TcpStream::from(socket).read_exact(&mut token)?;
    Ok(token)
}
