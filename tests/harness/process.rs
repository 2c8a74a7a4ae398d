//! Programs on nodes and in pods.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::{
    netns::Netns,
    poll::{eventually, wait_for},
    spawner,
};

/// How long a program that should end may take, where the scenario says nothing else.
const RUN_DEADLINE: Duration = Duration::from_secs(60);
/// How long an awaited line of output may take.
const LINE_DEADLINE: Duration = Duration::from_secs(20);

/// Where programs run: a namespace, a cgroup, and a folder for their output.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) netns: Arc<Netns>,
    pub(crate) cgroup_procs: Arc<File>,
    pub(crate) logs: PathBuf,
}

impl Place {
    pub(crate) fn exec(&self, program: impl AsRef<OsStr>) -> Exec {
        Exec {
            command: Command::new(program),
            place: self.clone(),
        }
    }
}

/// A command about to run somewhere.
pub struct Exec {
    command: Command,
    place: Place,
}

impl Exec {
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Starts it; it is killed when the [`Proc`] is dropped.
    #[track_caller]
    pub fn spawn(self) -> Proc {
        let Self { mut command, place } = self;
        let program = command.get_program().to_owned();
        let log = next_log(&place, &program);
        let (stdout, stderr) = (log.with_extension("out"), log.with_extension("err"));
        let create = |path: &Path| {
            File::create(path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()))
        };
        command
            .stdin(Stdio::piped())
            .stdout(create(&stdout))
            .stderr(create(&stderr));
        spawner::move_into(&mut command, &place);
        let mut child = spawner::spawn(command)
            .unwrap_or_else(|e| panic!("cannot start {program:?} in {}: {e}", place.name));
        Proc {
            stdin: Mutex::new(child.stdin.take()),
            pid: Pid::from_child(&child),
            child: Mutex::new(child),
            title: format!("{} in {}", program.display(), place.name),
            orders: AtomicUsize::new(0),
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.spawn().finish_within(RUN_DEADLINE)
    }
}

fn next_log(place: &Place, program: &OsStr) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let program = Path::new(program)
        .file_name()
        .unwrap_or(program)
        .display()
        .to_string();
    place
        .logs
        .join(format!("{number:04}-{}-{program}", place.name))
}

/// A running program.
#[derive(Debug)]
pub struct Proc {
    child: Mutex<Child>,
    pid: Pid,
    stdin: Mutex<Option<std::process::ChildStdin>>,
    title: String,
    /// Numbers what it is told to do.
    orders: AtomicUsize,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// # Panics
    /// When the program failed.
    #[track_caller]
    pub fn expect_ok(self) -> String {
        assert!(self.ok(), "{self:?}");
        self.stdout
    }
}

impl Proc {
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn signal(&self, signal: Signal) {
        // A child that is not reaped keeps its pid: this never reaches another process.
        let mut child = self.child.lock().unwrap();
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill_process(self.pid, signal);
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.child.lock().unwrap().try_wait(), Ok(None))
    }

    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Lines of standard output that are JSON objects.
    pub fn events(&self) -> Vec<Value> {
        json_lines(&self.stdout())
    }

    /// Waits for a JSON line of standard output.
    #[track_caller]
    pub fn event(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(
            &format!("an event of {}", self.title),
            LINE_DEADLINE,
            || {
                let events = self.events();
                let found = events.iter().find(|event| wanted(event)).cloned();
                found.ok_or_else(|| (events, self.stderr()))
            },
        )
    }

    #[track_caller]
    pub fn event_named(&self, name: &str) -> Value {
        self.event(|event| event["event"] == name)
    }

    /// How many JSON lines so far have this `event`.
    pub fn count(&self, name: &str) -> usize {
        self.events()
            .iter()
            .filter(|event| event["event"] == name)
            .count()
    }

    /// Sends a line to its standard input.
    pub fn tell(&self, line: &str) {
        if let Some(stdin) = self.stdin.lock().unwrap().as_mut() {
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Gives an order to a program that takes them (`weir-testprog http`, grpc_server.py) and waits
    /// until it is in force: what it has counted until then.
    ///
    /// # Panics
    /// When the program knows no such order.
    #[track_caller]
    pub fn order(&self, order: &str) -> Value {
        let number = self.orders.fetch_add(1, Ordering::Relaxed);
        self.tell(&format!("{number} {order}"));
        let what = format!("`{order}` in force at {}", self.title);
        let answer = eventually(&what, LINE_DEADLINE, || {
            // Many lines are requests: of those nothing is parsed.
            let text = self.stdout();
            let answers = text
                .lines()
                .rev()
                .filter(|line| line.contains("\"ordered\""));
            let found = answers
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|event| event["event"] == "ordered" && event["number"] == number);
            found.ok_or_else(|| self.stderr())
        });
        assert!(answer["error"].is_null(), "{answer}");
        answer["counts"].clone()
    }

    /// What a program that takes orders has counted: `requests`, `connections`, …
    #[track_caller]
    pub fn counted(&self, what: &str) -> u64 {
        self.order("counts")[what].as_u64().unwrap_or(0)
    }

    /// Closes its standard input, waits for its end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(RUN_DEADLINE)
    }

    #[track_caller]
    pub fn finish_within(self, deadline: Duration) -> Finished {
        let Some(status) = self.exit_within(deadline) else {
            panic!(
                "{} still runs after {deadline:?}\n{}\n{}",
                self.title,
                self.stdout(),
                self.stderr()
            );
        };
        Finished {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Closes its standard input, and waits.
    pub fn exit_within(&self, deadline: Duration) -> Option<ExitStatus> {
        drop(self.stdin.lock().unwrap().take());
        wait_for(deadline, || {
            self.child.lock().unwrap().try_wait().ok().flatten()
        })
    }

    /// Waits until the program listens on `port` in its own namespace.
    #[track_caller]
    pub fn wait_listening(&self, port: u16) {
        eventually(
            &format!("{} listens on {port}", self.title),
            LINE_DEADLINE,
            || {
                let listens = ["tcp", "tcp6"].iter().any(|table| {
                    let table = read(Path::new(&format!("/proc/{}/net/{table}", self.pid())));
                    table.lines().skip(1).any(|line| {
                        let mut fields = line.split_whitespace().skip(1);
                        let local = fields.next().unwrap_or_default();
                        local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("0A")
                    })
                });
                if listens {
                    Ok(())
                } else {
                    Err((self.is_running(), self.stderr()))
                }
            },
        );
    }

    pub(crate) fn fd_inodes(&self) -> Vec<u64> {
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .into_iter()
            .flatten()
            .flatten();
        let sockets = links.filter_map(|link| fs::read_link(link.path()).ok());
        sockets
            .filter_map(|link| socket_inode(link.as_os_str()))
            .collect()
    }

    /// Resident memory, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|n| n.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let child = self
            .child
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Its group may outlive it (nginx's workers), but while it is not reaped the group's
        // number is not given away.
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = child.wait();
        }
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// `socket:[1234]`
fn socket_inode(link: &OsStr) -> Option<u64> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The programs that the harness was built with: `weir-testprog` beside the running one.
pub(crate) fn sibling_program(name: &str, env: &str) -> OsString {
    if let Some(path) = std::env::var_os(env) {
        return path;
    }
    let me = std::env::current_exe().unwrap_or_default();
    // Tests are in `deps/`, one further down.
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.exists());
    found
        .unwrap_or_else(|| {
            panic!(
                "{name} is not beside {}: build it, or set {env}",
                me.display()
            )
        })
        .into()
}
