//! The connections of one thread: their bound, their idle timers, and whom a change of policy or
//! the end of a pod concerns.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use slab::Slab;

use super::pods::LocalPod;
use crate::{
    model::{pod::Workload, snapshot::Snapshot},
    telemetry::Reason,
    transport::{
        copy::Supervision,
        limits::{CONNECTIONS_MAX, HALF_CLOSED_IDLE_TIMEOUT, HEADER_TIMEOUT},
    },
};

pub(super) struct Registry {
    entries: RefCell<Slab<Entry>>,
    /// Seconds, as the sweeps count them.
    clock: Rc<Cell<u32>>,
    /// How many there are, for other threads to read.
    count: Arc<AtomicUsize>,
}

struct Entry {
    supervision: Rc<Supervision>,
    pod: Rc<LocalPod>,
    /// Where a plaintext peer was let in: the destination and its port, to be judged again.
    plaintext: Option<(Arc<Workload>, u16)>,
}

/// Keeps a connection registered.
pub(super) struct Registered {
    registry: Rc<Registry>,
    key: usize,
    pub(super) supervision: Rc<Supervision>,
}

impl Registry {
    pub(super) fn new(count: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::default(),
            clock: Rc::default(),
            count,
        })
    }

    /// `None`: the thread carries as many connections as it may.
    pub(super) fn register(
        self: &Rc<Self>,
        pod: &Rc<LocalPod>,
        plaintext: Option<(Arc<Workload>, u16)>,
    ) -> Option<Registered> {
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= CONNECTIONS_MAX {
            return None;
        }
        let supervision = Rc::new(Supervision::new(Rc::clone(&self.clock)));
        let key = entries.insert(Entry {
            supervision: Rc::clone(&supervision),
            pod: Rc::clone(pod),
            plaintext,
        });
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(Registered {
            registry: Rc::clone(self),
            key,
            supervision,
        })
    }

    /// Once a second: ends what has been idle for too long.
    pub(super) fn sweep(&self) {
        self.clock.set(self.clock.get().wrapping_add(1));
        for (_, entry) in self.entries.borrow().iter() {
            let idle = u64::from(entry.supervision.idle_ticks());
            let head = entry.supervision.head_ticks().map(u64::from);
            if head.is_some_and(|ticks| ticks > HEADER_TIMEOUT.as_secs()) {
                entry.supervision.end(Reason::HeaderTimeout);
            } else if entry.supervision.half_closed() && idle >= HALF_CLOSED_IDLE_TIMEOUT.as_secs()
            {
                entry.supervision.end(Reason::HalfCloseTimeout);
            } else if entry.supervision.is_idle_too_long() {
                entry.supervision.end(Reason::IdleTimeout);
            }
        }
    }

    /// Ends the plaintext connections that policy no longer lets in.
    pub(super) fn judge_again(&self, snapshot: &Snapshot) {
        for (_, entry) in self.entries.borrow().iter() {
            let Some((workload, port)) = &entry.plaintext else {
                continue;
            };
            // Labels may have changed since: policies select by the pod as it is now.
            let now = snapshot.workload(&workload.pod.name).unwrap_or(workload);
            if !snapshot.mtls_mode(now, *port).allows_plaintext() {
                entry.supervision.end(Reason::PolicyChanged);
            }
        }
    }

    pub(super) fn end_of_pod(&self, pod: &Rc<LocalPod>, reason: Reason) {
        for (_, entry) in self.entries.borrow().iter() {
            if Rc::ptr_eq(&entry.pod, pod) {
                entry.supervision.end(reason);
            }
        }
    }

    pub(super) fn end_all(&self, reason: Reason) {
        for (_, entry) in self.entries.borrow().iter() {
            entry.supervision.end(reason);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.entries.borrow_mut().remove(self.key);
        self.registry.count.fetch_sub(1, Ordering::Relaxed);
    }
}
