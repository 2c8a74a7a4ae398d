//! Starting programs so that they are where they belong and none outlives its test.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{Arc, LazyLock, mpsc},
    thread,
};

use rustix::{
    process::{
        Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_parent_process_death_signal,
        setpgid, setrlimit,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::process::Place;

/// The program enters its namespace and cgroup before it is itself, leads a process group, and
/// dies with this process.
pub(crate) fn move_into(command: &mut Command, place: &Place) {
    let (netns, cgroup) = (Arc::clone(&place.netns), Arc::clone(&place.cgroup_procs));
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        setpgid(None, None)?;
        // Thousands of connections; beyond the hard limit root may not go everywhere.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Nofile, limit)?;
        (&*cgroup).write_all(b"0")?;
        move_into_link_name_space(netns.fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls on descriptors opened before, and
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
}

/// The parent-death signal is sent when the *thread* that forked ends (prctl(2)), and scenarios
/// start programs from threads that end: one thread that never does forks for all.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, child) = mpsc::sync_channel(1);
    SPAWNER
        .send((command, answer))
        .expect("the spawner never ends");
    child.recv().expect("the spawner answers")
}
