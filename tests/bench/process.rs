//! Programs of a run: started in a namespace and a cgroup, gone when the run is, their CPU time and memory read
//! from `/proc`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::sandbox::Place;

/// How long a program may take to end when asked to, before it is killed.
const ENDING: Duration = Duration::from_secs(3);

/// A program of this run. Dropping it ends it.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
}

impl Process {
    /// Starts `program` in `place`; what it prints goes to `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = S>,
        place: &Place,
        log: &Path,
    ) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(args)
            // What somebody set for debugging is not to be measured.
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        Self::spawn(name, command, place)
    }

    fn spawn(name: &str, mut command: Command, place: &Place) -> Result<Self> {
        let netns = File::open(&place.netns)
            .with_context(|| format!("no namespace {}", place.netns.display()))?;
        let procs = place.cgroup.join("cgroup.procs");
        let cgroup = File::options()
            .write(true)
            .open(&procs)
            .with_context(|| format!("no {}", procs.display()))?;
        let enter = move || {
            // The run may be killed before it can clean up.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            (&cgroup).write_all(b"0")?;
            rustix::thread::move_into_link_name_space(
                netns.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )?;
            // 10,000 connections are more than the usual soft limit of 1,024.
            let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
            rustix::process::setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: hard,
                    maximum: hard,
                },
            )?;
            Ok(())
        };
        // SAFETY: the closure only makes system calls; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(enter) };
        let program = command.get_program().to_owned();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the program has ended, which none of a path's programs should.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}", self.name),
        }
    }

    /// CPU time of all its threads so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.pid());
        let mut nanos = 0;
        for task in std::fs::read_dir(&tasks).with_context(|| format!("{} is gone", self.name))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            nanos += text
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0_u64);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory, MiB.
    pub(crate) fn rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        let kib: f64 = line
            .split_whitespace()
            .nth(1)
            .context("no VmRSS")?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Asks with `signal` and waits; a program that does not end is killed.
    pub(crate) fn end(&mut self, signal: Signal) {
        if self.child.try_wait().ok().flatten().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It is our own child and not yet waited for, so the id is still its own.
            let _ = rustix::process::kill_process(pid, signal);
        }
        let deadline = Instant::now() + ENDING;
        while Instant::now() < deadline {
            if self.child.try_wait().ok().flatten().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}

/// A program whose lines are read as they come.
pub(crate) struct Talker {
    process: Process,
    lines: Receiver<String>,
}

impl Talker {
    pub(crate) fn start(
        name: &str,
        program: &Path,
        args: &[String],
        place: &Place,
        log: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?);
        let mut process = Process::spawn(name, command, place)?;
        let out = process.child.stdout.take().context("no stdout")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines })
    }

    /// The next line; none when the program has closed its output.
    pub(crate) fn line(&mut self, until: Instant) -> Result<Option<String>> {
        match self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("{} said nothing in time", self.process.name),
        }
    }
}

/// What `perf` is to say about the proxies of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recording<'a> {
    /// Where the CPU time goes: `NAME.data` for `perf report`.
    Samples(&'a Path),
    /// How many system calls of which kind: `NAME.syscalls`.
    Syscalls(&'a Path),
}

impl<'a> Recording<'a> {
    /// One at a time: counting system calls slows them down.
    pub(crate) fn of_round(round: usize, dir: &'a Path) -> Option<Self> {
        match round {
            1 => Some(Self::Samples(dir)),
            2 => Some(Self::Syscalls(dir)),
            _ => None,
        }
    }

    pub(crate) fn start(self, processes: &[Process], name: &str) -> Result<Recorder> {
        let mut perf = Command::new("perf");
        let file = match self {
            // `cpu-clock`: virtual machines often have no cycle counter. DWARF: release builds keep no frame pointers.
            Self::Samples(dir) => {
                perf.args(["record", "--quiet", "-e", "cpu-clock", "-F", "999"]);
                perf.args(["--call-graph", "dwarf,16384"]);
                dir.join(format!("{name}.data"))
            }
            Self::Syscalls(dir) => {
                perf.args(["trace", "--summary"]);
                dir.join(format!("{name}.syscalls"))
            }
        };
        let pids: Vec<String> = processes
            .iter()
            .map(|process| process.pid().to_string())
            .collect();
        perf.args(["-p", &pids.join(","), "-o"])
            .arg(file)
            .stdin(Stdio::null());
        Ok(Recorder(
            perf.spawn()
                .context("cannot run `perf` (Debian: linux-perf)")?,
        ))
    }
}

/// A running `perf`. Dropping it finishes the file.
pub(crate) struct Recorder(Child);

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // perf writes its summary when it is interrupted.
            let _ = rustix::process::kill_process(pid, Signal::INT);
        }
        let _ = self.0.wait();
    }
}
