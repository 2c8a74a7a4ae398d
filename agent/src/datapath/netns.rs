//! Network namespaces of pods, and sockets inside them.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
    sync::OnceLock,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use super::DatapathError;
use crate::model::pod::NetnsRef;

/// `SO_NETNS_COOKIE` (Linux 5.14), which libc does not name.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A pod's network namespace, held open: it lives at least as long as this.
#[derive(Debug)]
pub(super) struct Netns {
    file: File,
    /// What the kernel knows it by.
    pub(super) cookie: u64,
    pub(super) name: String,
}

impl Netns {
    pub(super) fn open(reference: &NetnsRef) -> Result<Self, DatapathError> {
        let path = match reference {
            NetnsRef::Path(path) => path.clone(),
            NetnsRef::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        };
        let name = path.display().to_string();
        let file = File::open(&path).map_err(|source| DatapathError::Netns {
            action: "look",
            netns: name.clone(),
            source,
        })?;
        if is_own(&file) {
            return Err(DatapathError::OwnNetns { netns: name });
        }
        let mut netns = Self {
            file,
            cookie: 0,
            name,
        };
        let cookie = netns
            .enter(|| {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                netns_cookie(socket.as_fd())
            })
            .map_err(|source| netns.error("find the kernel's name for", source))?;
        netns.cookie = cookie;
        Ok(netns)
    }

    pub(super) fn error(&self, action: &'static str, source: io::Error) -> DatapathError {
        DatapathError::Netns {
            action,
            netns: self.name.clone(),
            source,
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `action` on this thread inside the namespace. It must not wait: an event loop may be
    /// on this thread.
    pub(super) fn enter<T>(&self, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let home = home()?;
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        let _way_back = WayBack(home.as_fd());
        action()
    }

    /// A non-blocking TCP socket of this namespace.
    pub(super) fn stream_socket(&self, domain: Domain) -> io::Result<Socket> {
        self.enter(|| Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)))
    }
}

/// Returns the thread to its own namespace, also when the action inside panics.
struct WayBack<'a>(BorrowedFd<'a>);

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        if move_into_link_name_space(self.0, Some(LinkNameSpaceType::Network)).is_err() {
            // The thread would go on in a pod's network with the agent's rights.
            std::process::abort();
        }
    }
}

fn home() -> io::Result<&'static OwnedFd> {
    static HOME: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let opened = OwnedFd::from(File::open("/proc/self/ns/net")?);
    Ok(HOME.get_or_init(|| opened))
}

fn is_own(file: &File) -> bool {
    let Ok(theirs) = file.metadata() else {
        return false;
    };
    ["/proc/self/ns/net", "/proc/1/ns/net"]
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .any(|ours| ours.ino() == theirs.ino() && ours.dev() == theirs.dev())
}

fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option's value is a u64, and `cookie` and `length` outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}
