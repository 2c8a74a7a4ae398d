//! Warm tunnels of one thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use tokio::sync::Notify;

use super::client::{Connect, OpenTunnel, Tunnel, TunnelError};
use crate::{
    identity::Material,
    model::{seams::PodNet, spiffe::SpiffeId},
    telemetry::{Direction, Metrics},
    transport::limits::*,
};

/// What one tunnel may be shared for. The source pod is part of it since the peer sees its
/// address; the destination's uid since an address is used again by another pod.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    pub source: Arc<str>,
    pub source_identity: SpiffeId,
    pub destination: IpAddr,
    pub destination_uid: Arc<str>,
    pub destination_identity: SpiffeId,
}

/// What a new tunnel is dialled with.
#[derive(Clone)]
pub struct Dialler {
    pub net: Arc<dyn PodNet>,
    pub material: Arc<Material>,
}

pub struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    entries: RefCell<HashMap<PoolKey, Entry>>,
    tunnels: Cell<usize>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Entry {
    tunnels: Vec<Rc<Tunnel>>,
    dialling: Option<Rc<Dialling>>,
}

/// A dial that several may wait for.
struct Dialling {
    done: Notify,
    outcome: RefCell<Option<Result<Rc<Tunnel>, TunnelError>>>,
}

impl Pool {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            shared: Rc::new(Shared {
                entries: RefCell::default(),
                tunnels: Cell::new(0),
                metrics,
            }),
        }
    }

    /// Opens a stream, on a warm tunnel where there is one.
    pub async fn open(
        &self,
        key: &PoolKey,
        dialler: &Dialler,
        wanted: &Connect<'_>,
    ) -> Result<OpenTunnel, TunnelError> {
        let metrics = &self.shared.metrics;
        let (tunnel, warm) = self.tunnel(key, dialler).await?;
        match tunnel.open(wanted, metrics).await {
            // A warm tunnel may have died unnoticed: a fresh one decides.
            Err(error) if warm && error.is_worth_another_tunnel() => {
                tunnel.retire();
                let fresh = self.dial(key, dialler).await?;
                fresh.open(wanted, metrics).await
            }
            outcome => outcome,
        }
    }

    /// A tunnel with room, and whether it was there before.
    async fn tunnel(
        &self,
        key: &PoolKey,
        dialler: &Dialler,
    ) -> Result<(Rc<Tunnel>, bool), TunnelError> {
        let mut warm = true;
        loop {
            let (best, spread) = {
                let entries = self.shared.entries.borrow();
                match entries.get(key) {
                    Some(entry) => (entry.least_loaded(), entry.wants_spread()),
                    None => (None, false),
                }
            };
            if let Some(tunnel) = best {
                if spread {
                    // In the background: this stream does not wait for it.
                    self.start(key, dialler).map(drop).or_else(ignore_limit)?;
                }
                return Ok((tunnel, warm));
            }
            // In a box: a warm tunnel is the rule, and its users need not carry the dial. Others
            // may have waited for the same one, and filled it by now: then there is another turn.
            let fresh = Box::pin(self.dial(key, dialler)).await?;
            warm = false;
            if fresh.has_room() {
                return Ok((fresh, warm));
            }
        }
    }

    async fn dial(&self, key: &PoolKey, dialler: &Dialler) -> Result<Rc<Tunnel>, TunnelError> {
        let dialling = self.start(key, dialler)?;
        loop {
            let done = dialling.done.notified();
            if let Some(outcome) = dialling.outcome.borrow().as_ref() {
                return outcome.clone();
            }
            done.await;
        }
    }

    /// Joins the dial that is under way for this key, or starts one. It runs as a task of its own:
    /// whoever asked first may go away.
    fn start(&self, key: &PoolKey, dialler: &Dialler) -> Result<Rc<Dialling>, TunnelError> {
        let mut entries = self.shared.entries.borrow_mut();
        let entry = entries.entry(key.clone()).or_default();
        if let Some(dialling) = &entry.dialling {
            return Ok(Rc::clone(dialling));
        }
        let limit = if entry.tunnels.len() >= TUNNELS_PER_KEY_MAX {
            Some("tunnels_per_key")
        } else if self.shared.tunnels.get() >= TUNNELS_MAX {
            Some("tunnels")
        } else {
            None
        };
        if let Some(limit) = limit {
            self.shared.metrics.limit_reached(limit);
            return Err(TunnelError::Limit(limit));
        }
        let dialling = Rc::new(Dialling {
            done: Notify::new(),
            outcome: RefCell::new(None),
        });
        entry.dialling = Some(Rc::clone(&dialling));
        drop(entries);
        tokio::task::spawn_local(run_dial(
            Rc::clone(&self.shared),
            key.clone(),
            dialler.clone(),
            Rc::clone(&dialling),
        ));
        Ok(dialling)
    }

    /// Tunnels of a pod that left, or whose policies changed, take no new streams.
    pub fn retire_source(&self, source: &str) {
        let mut entries = self.shared.entries.borrow_mut();
        entries.retain(|key, entry| {
            if &*key.source != source {
                return true;
            }
            for tunnel in &entry.tunnels {
                tunnel.retire();
            }
            false
        });
    }
}

async fn run_dial(shared: Rc<Shared>, key: PoolKey, dialler: Dialler, dialling: Rc<Dialling>) {
    let guard = shared.metrics.hbone_connection(Direction::Outbound);
    let (on_end, ended_key) = (Rc::clone(&shared), key.clone());
    let outcome = Tunnel::connect(
        &key,
        &*dialler.net,
        &dialler.material,
        &shared.metrics,
        guard,
        move |tunnel| on_end.forget(&ended_key, tunnel),
    )
    .await;
    {
        let mut entries = shared.entries.borrow_mut();
        let entry = entries.entry(key.clone()).or_default();
        entry.dialling = None;
        match &outcome {
            Ok(tunnel) => {
                entry.tunnels.push(Rc::clone(tunnel));
                shared.tunnels.set(shared.tunnels.get() + 1);
            }
            Err(_) if entry.tunnels.is_empty() => {
                entries.remove(&key);
            }
            Err(_) => {}
        }
    }
    *dialling.outcome.borrow_mut() = Some(outcome);
    dialling.done.notify_waiters();
}

impl Shared {
    fn forget(&self, key: &PoolKey, tunnel: &Rc<Tunnel>) {
        self.tunnels.set(self.tunnels.get().saturating_sub(1));
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(key) {
            entry.tunnels.retain(|other| !Rc::ptr_eq(other, tunnel));
            if entry.tunnels.is_empty() && entry.dialling.is_none() {
                entries.remove(key);
            }
        }
    }
}

impl Entry {
    fn least_loaded(&self) -> Option<Rc<Tunnel>> {
        let open = self.tunnels.iter().filter(|tunnel| tunnel.has_room());
        open.min_by_key(|tunnel| tunnel.streams()).cloned()
    }

    /// Whether even the least loaded tunnel is busy enough for another beside it.
    fn wants_spread(&self) -> bool {
        self.tunnels.len() < TUNNELS_SPREAD_MAX
            && self
                .tunnels
                .iter()
                .all(|tunnel| tunnel.streams() >= STREAMS_SPREAD)
    }
}

fn ignore_limit(error: TunnelError) -> Result<(), TunnelError> {
    match error {
        TunnelError::Limit(_) => Ok(()),
        other => Err(other),
    }
}
