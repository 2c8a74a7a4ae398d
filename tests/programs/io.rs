//! What the programs share.

use std::{
    io::{self, ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, socket_with,
        sockopt::{set_socket_linger, set_socket_reuseaddr, socket_error},
    },
};
use serde_json::Value;

/// No step of a conversation may take longer.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn tell(event: &Value) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{event}").and_then(|()| out.flush());
}

/// How a person would call it; scenarios compare these words.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            "reset".into()
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timeout".into(),
        ErrorKind::UnexpectedEof => "eof".into(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable".into(),
        _ => error.to_string(),
    }
}

/// How to dial.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dial {
    /// Bind this first, with SO_REUSEADDR.
    pub(crate) from: Option<SocketAddr>,
    /// connect() in a non-blocking socket, then wait until it is writable.
    pub(crate) nonblocking: bool,
    /// How long one step may take, instead of [`STEP_TIMEOUT`].
    pub(crate) patience_seconds: Option<u64>,
}

/// What the dial itself did, beside the stream.
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    /// connect() said EINPROGRESS.
    pub(crate) in_progress: bool,
}

impl Dial {
    pub(crate) fn connect(self, addr: SocketAddr) -> io::Result<Dialled> {
        let family = if addr.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = if self.nonblocking {
            SocketFlags::NONBLOCK
        } else {
            SocketFlags::empty()
        };
        let socket = socket_with(
            family,
            SocketType::STREAM,
            flags | SocketFlags::CLOEXEC,
            None,
        )?;
        if let Some(from) = self.from {
            set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &from)?;
        }
        let in_progress = match connect(&socket, &addr) {
            Ok(()) => false,
            Err(rustix::io::Errno::INPROGRESS) => {
                wait_writable(&socket)?;
                true
            }
            Err(error) => return Err(error.into()),
        };
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        let patience = self.patience_seconds.map(Duration::from_secs);
        stream.set_read_timeout(Some(patience.unwrap_or(STEP_TIMEOUT)))?;
        stream.set_write_timeout(Some(STEP_TIMEOUT))?;
        Ok(Dialled {
            stream,
            in_progress,
        })
    }
}

fn wait_writable(socket: &OwnedFd) -> io::Result<()> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    let timeout = Timespec {
        tv_sec: STEP_TIMEOUT.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&timeout))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    socket_error(socket)??;
    Ok(())
}

/// Closing with SO_LINGER 0 sends RST (tcp(7)).
pub(crate) fn reset(stream: TcpStream) -> io::Result<()> {
    set_socket_linger(stream.as_fd(), Some(Duration::ZERO))?;
    Ok(())
}
