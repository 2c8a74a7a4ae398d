//! `weir agent` on a node.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    ca::Ca,
    metrics::Metrics,
    netns::Netns,
    pod::Pod,
    poll::{eventually, wait_for},
    process::{Place, Proc, json_lines},
};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// The binary under test.
pub(crate) fn weir_binary() -> OsString {
    let path = std::env::var_os("WEIR_BIN").expect(
        "WEIR_BIN must name the weir binary: `cargo xtask build` makes target/release/weir",
    );
    assert!(
        Path::new(&path).is_file(),
        "WEIR_BIN={} is not a file",
        path.display()
    );
    path
}

/// What becomes of capture when the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    Release,
    Hold,
}

/// Flags of an agent to be.
pub struct AgentBuilder {
    pub(crate) node: String,
    pub(crate) place: Place,
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) bpffs: PathBuf,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) ca: Option<Ca>,
    pub(crate) on_exit: OnExit,
    pub(crate) drain_timeout: String,
    pub(crate) metrics_port: u16,
    pub(crate) admin_port: u16,
    pub(crate) extra: Vec<OsString>,
}

impl AgentBuilder {
    #[must_use]
    pub fn on_exit(mut self, on_exit: OnExit) -> Self {
        self.on_exit = on_exit;
        self
    }

    /// As the flag takes it: `10s`.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: &str) -> Self {
        timeout.clone_into(&mut self.drain_timeout);
        self
    }

    /// Other ports than the default ones, for a second agent on the same node.
    #[must_use]
    pub fn ports(mut self, metrics: u16, admin: u16) -> Self {
        (self.metrics_port, self.admin_port) = (metrics, admin);
        self
    }

    /// Hooks at the root of cgroup2, the agent's default, instead of this mesh's own cgroup.
    #[must_use]
    pub fn default_cgroup(mut self) -> Self {
        self.cgroup = None;
        self
    }

    /// No shared root: the agent makes its own.
    #[must_use]
    pub fn own_ca(mut self) -> Self {
        self.ca = None;
        self
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.extra.push(arg.into());
        self
    }

    /// Starts it without waiting.
    pub fn spawn(self) -> Agent {
        let metrics_addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.metrics_port));
        let admin_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin_port));
        let on_exit = match self.on_exit {
            OnExit::Release => "release",
            OnExit::Hold => "hold",
        };
        let mut exec = self
            .place
            .exec(weir_binary())
            .arg("agent")
            .arg("--config")
            .arg(&self.config)
            .args(["--node", &self.node])
            .arg("--state")
            .arg(&self.state)
            .arg("--bpffs")
            .arg(&self.bpffs)
            .args(["--metrics-addr", &metrics_addr.to_string()])
            .args(["--admin-addr", &admin_addr.to_string()])
            .args(["--on-exit", on_exit, "--drain-timeout", &self.drain_timeout]);
        if let Some(cgroup) = &self.cgroup {
            exec = exec.arg("--cgroup").arg(cgroup);
        }
        if let Some(ca) = &self.ca {
            exec = exec
                .arg("--ca-cert")
                .arg(&ca.cert)
                .arg("--ca-key")
                .arg(&ca.key);
        }
        if std::env::var_os("RUST_LOG").is_none() {
            exec = exec.env("RUST_LOG", "info,weir=debug");
        }
        let netns = Arc::clone(&self.place.netns);
        Agent(Arc::new(Inner {
            process: exec.args(&self.extra).spawn(),
            node: self.node,
            netns,
            metrics_port: self.metrics_port,
            admin_port: self.admin_port,
            bpffs: self.bpffs,
            state: self.state,
        }))
    }

    /// Starts it and waits until it is ready: capture of every known pod has been proven.
    #[track_caller]
    pub fn start(self) -> Agent {
        let agent = self.spawn();
        agent.wait_ready();
        agent
    }
}

/// A running agent. Clones are handles of the same one; it is killed with the last.
#[derive(Clone, Debug)]
pub struct Agent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    process: Proc,
    node: String,
    netns: Arc<Netns>,
    metrics_port: u16,
    admin_port: u16,
    bpffs: PathBuf,
    state: PathBuf,
}

impl Agent {
    pub fn node(&self) -> &str {
        &self.0.node
    }

    pub fn bpffs(&self) -> &Path {
        &self.0.bpffs
    }

    pub fn state(&self) -> &Path {
        &self.0.state
    }

    pub fn process(&self) -> &Proc {
        &self.0.process
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        self.0.process.stderr()
    }

    /// Entries of the access log.
    pub fn access_log(&self) -> Vec<Value> {
        json_lines(&self.0.process.stdout())
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.get("/healthz/ready"), Ok((200, _)))
    }

    #[track_caller]
    pub fn wait_ready(&self) {
        let ready = wait_for(READY_DEADLINE, || {
            let running = self.0.process.is_running();
            (!running || self.is_ready()).then_some(running)
        });
        match ready {
            Some(true) => {}
            Some(false) => panic!("the agent of {} has ended\n{}", self.node(), self.log()),
            None => panic!(
                "the agent of {} is not ready within {READY_DEADLINE:?}: {:?}\n{}",
                self.node(),
                self.get("/healthz/ready"),
                self.log()
            ),
        }
    }

    /// Waits until the agent listens inside the pod and is ready: it has taken the pod up.
    #[track_caller]
    pub fn wait_captured(&self, pod: &Pod) {
        self.wait_listeners(pod, true);
        self.wait_ready();
    }

    /// Waits until the agent listens no more inside the pod.
    #[track_caller]
    pub fn wait_released(&self, pod: &Pod) {
        self.wait_listeners(pod, false);
    }

    #[track_caller]
    fn wait_listeners(&self, pod: &Pod, wanted: bool) {
        let what = format!(
            "the agent of {} listens in {}: {wanted}",
            self.node(),
            pod.name()
        );
        eventually(&what, READY_DEADLINE, || {
            let sockets = pod.netns().tcp_sockets();
            let own = self.0.process.fd_inodes();
            let listens = sockets
                .iter()
                .any(|s| s.is_listener() && own.contains(&s.inode));
            if listens == wanted {
                Ok(())
            } else {
                Err((sockets, self.log()))
            }
        });
    }

    /// Asks on the metrics address.
    pub fn get(&self, path: &str) -> io::Result<(u16, String)> {
        http_get(&self.0.netns, self.0.metrics_port, path)
    }

    /// Asks on the admin address.
    pub fn admin(&self, path: &str) -> io::Result<(u16, String)> {
        http_get(&self.0.netns, self.0.admin_port, path)
    }

    /// An agent that does not answer has no metrics.
    pub fn metrics(&self) -> Metrics {
        self.get("/metrics")
            .map(|(_, text)| Metrics::parse(&text))
            .unwrap_or_default()
    }

    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels)
    }

    /// Connections that failed for any of these reasons.
    pub fn failures(&self, reasons: &[&str]) -> f64 {
        let metrics = self.metrics();
        let of =
            |reason: &&str| metrics.sum("weir_connection_failures_total", &[("reason", reason)]);
        reasons.iter().map(of).sum()
    }

    /// TLS handshakes that failed for any of these reasons.
    pub fn handshake_failures(&self, reasons: &[&str]) -> f64 {
        let metrics = self.metrics();
        let of =
            |reason: &&str| metrics.sum("weir_tls_handshake_failures_total", &[("reason", reason)]);
        reasons.iter().map(of).sum()
    }

    /// Decisions that the kernel side has counted.
    pub fn verdicts(&self, verdict: &str) -> f64 {
        self.metric("weir_capture_verdicts_total", &[("verdict", verdict)])
    }

    /// Waits until one of the reasons has been counted `n` times in all.
    #[track_caller]
    pub fn expect_failures(&self, reasons: &[&str], n: u32) {
        self.expect(&format!("{n} failures of {reasons:?}"), |agent| {
            agent.failures(reasons) >= f64::from(n)
        });
    }

    #[track_caller]
    pub fn expect_handshake_failures(&self, reasons: &[&str], n: u32) {
        self.expect(&format!("{n} failed handshakes of {reasons:?}"), |agent| {
            agent.handshake_failures(reasons) >= f64::from(n)
        });
    }

    /// Waits until an entry of the access log has this reason.
    #[track_caller]
    pub fn expect_logged(&self, reasons: &[&str]) {
        self.expect(&format!("an access log entry with {reasons:?}"), |agent| {
            let logged = |entry: &Value| {
                entry["reason"]
                    .as_str()
                    .is_some_and(|r| reasons.contains(&r))
            };
            agent.access_log().iter().any(logged)
        });
    }

    #[track_caller]
    fn expect(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        if wait_for(HTTP_TIMEOUT, || holds(self).then_some(())).is_none() {
            panic!(
                "the agent of {}: not seen: {what}\n{:#?}",
                self.node(),
                self.metrics().starting_with("weir_")
            );
        }
    }

    pub fn terminate(&self) {
        self.0.process.signal(Signal::TERM);
    }

    /// SIGKILL, and waits for the end.
    #[track_caller]
    pub fn kill(&self) {
        self.0.process.signal(Signal::KILL);
        self.wait_exit(Duration::from_secs(5));
    }

    #[track_caller]
    pub fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        match self.0.process.exit_within(deadline) {
            Some(status) => status,
            None => panic!(
                "the agent of {} still runs after {deadline:?}\n{}",
                self.node(),
                self.log()
            ),
        }
    }

    /// SIGTERM, and waits for an end without error.
    #[track_caller]
    pub fn stop(&self) {
        self.terminate();
        let status = self.wait_exit(Duration::from_secs(20));
        assert!(
            status.success(),
            "the agent of {} ended with {status}\n{}",
            self.node(),
            self.log()
        );
    }
}

fn http_get(netns: &Netns, port: u16, path: &str) -> io::Result<(u16, String)> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = netns.enter(|| TcpStream::connect_timeout(&addr, HTTP_TIMEOUT))?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    // 1.0: the answer ends with the connection and is not chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}
