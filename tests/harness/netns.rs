//! Network namespaces.

use std::{
    fs::{self, File},
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const FOLDER: &str = "/run/netns";

/// A named network namespace; removed when dropped (it lives on while a process or a socket
/// is in it).
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    pub(crate) fn create(name: String) -> Self {
        ip(&["netns", "add", &name], "");
        let path = Path::new(FOLDER).join(&name);
        let file =
            File::open(&path).unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
        Self { name, file }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `ip` commands in the namespace, one a line.
    pub fn ip(&self, batch: &str) {
        ip(&["-netns", &self.name, "-batch", "-"], batch);
    }

    /// Runs `f` on a thread inside the namespace. Sockets that it makes stay there.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|e| panic!("cannot enter {}: {e}", self.name));
            f()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Sets `net.<key>`, `.` written as `/`.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| fs::write(&path, value))
            .unwrap_or_else(|e| panic!("cannot set {}: {e}", path.display()));
    }

    /// TCP sockets as the kernel has them, which no hook of Weir's colours.
    pub fn tcp_sockets(&self) -> Vec<TcpSocket> {
        let tables = self.enter(|| {
            ["tcp", "tcp6"].map(|t| {
                fs::read_to_string(format!("/proc/thread-self/net/{t}")).unwrap_or_default()
            })
        });
        tables
            .iter()
            .flat_map(|table| table.lines().skip(1))
            .filter_map(TcpSocket::parse)
            .collect()
    }

    /// Names of the interfaces.
    pub fn links(&self) -> Vec<String> {
        let table = self
            .enter(|| fs::read_to_string("/proc/thread-self/net/dev"))
            .unwrap_or_default();
        let names = table
            .lines()
            .skip(2)
            .filter_map(|line| line.split_once(':'));
        names.map(|(name, _)| name.trim().to_owned()).collect()
    }

    /// `(device, inode)`, which tell one namespace from another.
    pub fn inode(&self) -> u64 {
        rustix::fs::fstat(self.fd()).unwrap().st_ino
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

pub(crate) fn remove_matching(ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| ours(name)) {
            delete(name);
        }
    }
}

fn delete(name: &str) {
    let _ = Command::new("ip")
        .args(["netns", "del", name])
        .stderr(Stdio::null())
        .status();
}

fn ip(args: &[&str], batch: &str) {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run ip (iproute2): {e}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(batch.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {args:?} failed: {stderr}\n{batch}"
    );
}

/// One line of `/proc/net/tcp` or `tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: TcpState,
    pub inode: u64,
}

/// The states that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    Established,
    SynSent,
    TimeWait,
    Listen,
    Other(u8),
}

impl TcpSocket {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let local = parse_addr(fields.nth(1)?)?;
        let remote = parse_addr(fields.next()?)?;
        let state = match u8::from_str_radix(fields.next()?, 16).ok()? {
            1 => TcpState::Established,
            2 => TcpState::SynSent,
            6 => TcpState::TimeWait,
            10 => TcpState::Listen,
            other => TcpState::Other(other),
        };
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self {
            local,
            remote,
            state,
            inode,
        })
    }

    pub fn is_listener(&self) -> bool {
        self.state == TcpState::Listen
    }
}

/// `0100007F:1F90`: 32-bit words as they lie in memory, the port as a number.
fn parse_addr(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |i: usize| {
        let word = u32::from_str_radix(ip.get(8 * i..8 * i + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip: IpAddr = if ip.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let octets: [u8; 16] = words.concat().try_into().ok()?;
        Ipv6Addr::from(octets).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_table() {
        let line = "   0: 0100007F:1F90 0201090A:D431 01 00000000:00000000 00:00000000 00000000     0        0 12345 1 0";
        let socket = TcpSocket::parse(line).unwrap();
        assert_eq!(socket.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(socket.remote, "10.9.1.2:54321".parse().unwrap());
        assert_eq!((socket.state, socket.inode), (TcpState::Established, 12345));
    }
}
