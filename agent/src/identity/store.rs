//! The certificates in use on this node, and their renewal.
//!
//! The control side says which identities are in use ([`IdentityStore::ensure`],
//! [`IdentityStore::retain`]); the data plane holds [`IdentityHandle`]s and reads the current
//! certificate from them without a lock. Renewal happens in [`IdentityStore::run`] alone, half a
//! life before it is needed: never on the path of a connection.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, OnceCell},
    task::{self, JoinSet},
    time::sleep,
};

use super::{error::IdentityError, material::Material, random, trust::TrustBundle};
use crate::model::{
    limits::LOCAL_PODS_MAX,
    seams::{CertProvider, CertificateEvents, Clock},
    spiffe::SpiffeId,
};

/// Renewals that are under way at the same time.
const RENEWALS_IN_FLIGHT_MAX: usize = 16;
/// The first wait after a failed renewal; it doubles with each further one.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The least time from one renewal to the next, whatever a CA issues.
const RENEWAL_DELAY_MIN: Duration = Duration::from_secs(5);
/// Due times are wall-clock times and a sleep is not: a step of the clock or a suspended machine
/// is noticed within this.
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The certificate of one identity, always the current one. Clones share it.
///
/// Once the identity is no longer in use on the node, it is not renewed any more.
#[derive(Clone)]
pub struct IdentityHandle {
    identity: SpiffeId,
    current: Arc<ArcSwap<Material>>,
}

impl IdentityHandle {
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// For one handshake; ask again for the next.
    pub fn current(&self) -> Arc<Material> {
        self.current.load_full()
    }
}

impl fmt::Debug for IdentityHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.current.load(), f)
    }
}

/// One identity in use.
struct Slot {
    identity: SpiffeId,
    /// Filled once the first certificate is there; whoever waits for it waits together.
    handle: OnceCell<IdentityHandle>,
    renewal: Mutex<Renewal>,
}

#[derive(Clone, Copy)]
struct Renewal {
    due: SystemTime,
    failures: u32,
}

/// All identities in use on this node.
pub struct IdentityStore {
    provider: Arc<dyn CertProvider>,
    trust: Arc<TrustBundle>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn CertificateEvents>,
    slots: Mutex<HashMap<SpiffeId, Arc<Slot>>>,
    changed: Notify,
}

impl IdentityStore {
    pub fn new(
        provider: Arc<dyn CertProvider>,
        trust: Arc<TrustBundle>,
        clock: Arc<dyn Clock>,
        events: Arc<dyn CertificateEvents>,
    ) -> Arc<Self> {
        Arc::new(Self {
            provider,
            trust,
            clock,
            events,
            slots: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub fn trust(&self) -> &Arc<TrustBundle> {
        &self.trust
    }

    /// `identity` is in use on this node from now on. Returns when its certificate is there, which
    /// is before a pod is captured. Callers that ask for the same one share one request.
    ///
    /// # Errors
    /// When the CA does not sign. The identity stays noted; call again to try again.
    pub async fn ensure(&self, identity: &SpiffeId) -> Result<IdentityHandle, IdentityError> {
        let slot = self.slot(identity)?;
        let handle = slot
            .handle
            .get_or_try_init(|| self.first_certificate(&slot))
            .await?;
        Ok(handle.clone())
    }

    /// The certificate of an identity that is in use and has one.
    pub fn get(&self, identity: &SpiffeId) -> Option<IdentityHandle> {
        self.lock().get(identity)?.handle.get().cloned()
    }

    /// Forgets the identities of which `in_use` says no: the last pod of them has left.
    pub fn retain(&self, in_use: impl Fn(&SpiffeId) -> bool) {
        self.lock().retain(|identity, slot| {
            let keep = in_use(identity);
            if !keep && slot.handle.initialized() {
                self.events.removed(identity);
            }
            keep
        });
    }

    /// Identities in use and when their certificates end, for people to look at.
    pub fn expiries(&self) -> Vec<(SpiffeId, SystemTime)> {
        let slots = self.lock();
        let handles = slots.values().filter_map(|slot| slot.handle.get());
        handles
            .map(|handle| (handle.identity.clone(), handle.current().not_after()))
            .collect()
    }

    /// Renews certificates when they are due, until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut renewals = JoinSet::new();
        let mut in_flight: HashMap<task::Id, SpiffeId> = HashMap::new();
        loop {
            let now = self.clock.wall();
            let mut next = now + RECHECK_INTERVAL;
            for slot in self.issued() {
                let due = slot.renewal().due;
                if in_flight
                    .values()
                    .any(|identity| *identity == slot.identity)
                {
                    continue;
                }
                if due > now {
                    next = next.min(due);
                } else if in_flight.len() < RENEWALS_IN_FLIGHT_MAX {
                    let (store, identity) = (Arc::clone(&self), slot.identity.clone());
                    let renewal = renewals.spawn(async move { store.renew(&slot).await });
                    in_flight.insert(renewal.id(), identity);
                }
            }
            let wait = next.duration_since(now).unwrap_or_default();
            tokio::select! {
                () = sleep(wait) => {}
                () = self.changed.notified() => {}
                Some(ended) = renewals.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    };
                    in_flight.remove(&id);
                }
            }
        }
    }

    async fn first_certificate(&self, slot: &Arc<Slot>) -> Result<IdentityHandle, IdentityError> {
        let identity = &slot.identity;
        let material = self.issue(identity).await?;
        slot.set_renewal(self.next_renewal(&material));
        self.report_issued(slot, &material);
        tracing::debug!(%identity, "certificate issued");
        let current = Arc::new(ArcSwap::from_pointee(material));
        self.changed.notify_one();
        Ok(IdentityHandle {
            identity: identity.clone(),
            current,
        })
    }

    async fn renew(&self, slot: &Arc<Slot>) {
        let (identity, Some(handle)) = (&slot.identity, slot.handle.get()) else {
            return;
        };
        match self.issue(identity).await {
            Ok(material) => {
                slot.set_renewal(self.next_renewal(&material));
                self.report_issued(slot, &material);
                handle.current.store(Arc::new(material));
                tracing::debug!(%identity, "certificate renewed");
            }
            Err(error) => {
                let failures = slot.renewal().failures.saturating_add(1);
                let now = self.clock.wall();
                let wait = retry_wait(failures);
                slot.set_renewal(Renewal {
                    due: now + wait,
                    failures,
                });
                match handle.current().not_after().duration_since(now) {
                    Ok(left) => {
                        tracing::warn!(%identity, %error, hours_left = left.as_secs() / 3600, retry_in = ?wait, "certificate not renewed")
                    }
                    Err(_) => {
                        tracing::error!(%identity, %error, retry_in = ?wait, "certificate has expired and is not renewed; peers refuse this workload")
                    }
                }
            }
        }
    }

    async fn issue(&self, identity: &SpiffeId) -> Result<Material, IdentityError> {
        let issued =
            Material::issue(identity, self.provider.as_ref(), &self.trust, &self.clock).await;
        if issued.is_err() {
            self.events.failed(identity);
        }
        issued
    }

    /// Told only while the identity is in use, so that nothing comes back that was removed.
    fn report_issued(&self, slot: &Arc<Slot>, material: &Material) {
        let slots = self.lock();
        if slots
            .get(&slot.identity)
            .is_some_and(|current| Arc::ptr_eq(current, slot))
        {
            self.events.issued(&slot.identity, material.not_after());
        }
    }

    /// At half of the life that is left, a tenth earlier or later: a node's certificates, and a
    /// cluster's, do not all come due at once.
    fn next_renewal(&self, material: &Material) -> Renewal {
        let now = self.clock.wall();
        let from = now.max(material.not_before());
        let left = material
            .not_after()
            .duration_since(from)
            .unwrap_or_default();
        let wait = left.mul_f64(0.45 + 0.1 * random::fraction());
        Renewal {
            due: now + wait.max(RENEWAL_DELAY_MIN),
            failures: 0,
        }
    }

    fn slot(&self, identity: &SpiffeId) -> Result<Arc<Slot>, IdentityError> {
        let mut slots = self.lock();
        if slots.len() >= LOCAL_PODS_MAX && !slots.contains_key(identity) {
            return Err(IdentityError::TooMany {
                identity: identity.clone(),
                limit: LOCAL_PODS_MAX,
            });
        }
        let slot = slots.entry(identity.clone()).or_insert_with(|| {
            Arc::new(Slot {
                identity: identity.clone(),
                handle: OnceCell::new(),
                renewal: Mutex::new(Renewal {
                    due: self.clock.wall(),
                    failures: 0,
                }),
            })
        });
        Ok(Arc::clone(slot))
    }

    fn issued(&self) -> Vec<Arc<Slot>> {
        self.lock()
            .values()
            .filter(|slot| slot.handle.initialized())
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SpiffeId, Arc<Slot>>> {
        // Each change is one insert or remove: a panic elsewhere leaves nothing half done.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for IdentityStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityStore")
            .field("identities", &self.lock().len())
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn renewal(&self) -> Renewal {
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_renewal(&self, renewal: Renewal) {
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner) = renewal;
    }
}

/// Doubles up to [`RETRY_MAX`], somewhere in the upper half: a CA that comes back is not met by
/// all nodes in the same moment.
fn retry_wait(failures: u32) -> Duration {
    let doubled = RETRY_BASE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(RETRY_MAX)
        .mul_f64(0.5 + 0.5 * random::fraction())
}

#[cfg(test)]
mod tests;
