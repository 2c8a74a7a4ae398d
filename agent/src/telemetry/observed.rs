//! Metrics whose value is worked out when somebody asks: ages, and counters kept elsewhere.

mod services;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Instant, SystemTime},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

pub use self::services::{
    BreakerObserved, PoolObserved, SERVICES_OBSERVED_MAX, ServicesObserved, ServicesSource,
};
use crate::model::{seams::Clock, spiffe::SpiffeId};

/// Reads the kernel's counters of verdicts: name and count.
pub type VerdictSource = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

pub(super) struct Observed {
    clock: Arc<dyn Clock>,
    verdicts: OnceLock<VerdictSource>,
    services: OnceLock<ServicesSource>,
    /// When each certificate ends. As many as there are identities on the node.
    certificates: Mutex<BTreeMap<SpiffeId, SystemTime>>,
    config_applied: Mutex<Option<Instant>>,
}

impl Observed {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            verdicts: OnceLock::new(),
            services: OnceLock::new(),
            certificates: Mutex::default(),
            config_applied: Mutex::default(),
        }
    }

    pub(super) fn set_verdicts(&self, source: VerdictSource) {
        if self.verdicts.set(source).is_err() {
            tracing::warn!("a second source of capture verdicts is ignored");
        }
    }

    pub(super) fn set_services(&self, source: ServicesSource) {
        if self.services.set(source).is_err() {
            tracing::warn!("a second source of the state of services is ignored");
        }
    }

    pub(super) fn set_certificate(&self, identity: &SpiffeId, not_after: SystemTime) {
        lock(&self.certificates).insert(identity.clone(), not_after);
    }

    pub(super) fn remove_certificate(&self, identity: &SpiffeId) {
        lock(&self.certificates).remove(identity);
    }

    pub(super) fn set_config_applied(&self, at: Instant) {
        *lock(&self.config_applied) = Some(at);
    }

    fn encode_certificates(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "weir_certificate_expiry_seconds",
            "Seconds until the certificate of an identity on this node ends; negative once it has",
            None,
            MetricType::Gauge,
        )?;
        let now = self.clock.wall();
        let certificates = lock(&self.certificates).clone();
        for (identity, not_after) in certificates {
            let left = match not_after.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(past) => -past.duration().as_secs_f64(),
            };
            let labels = [("identity", identity.as_str())];
            ConstGauge::new(left).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_certificates(&mut encoder)?;
        let applied = *lock(&self.config_applied);
        if let Some(at) = applied {
            let age = self.clock.now().saturating_duration_since(at).as_secs_f64();
            let metric = encoder.encode_descriptor(
                "weir_config_age_seconds",
                "Seconds since the configuration last changed",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(age).encode(metric)?;
        }
        if let Some(services) = self.services.get() {
            services().encode(&mut encoder)?;
        }
        let Some(verdicts) = self.verdicts.get() else {
            return Ok(());
        };
        let mut family = encoder.encode_descriptor(
            "weir_capture_verdicts",
            "What the kernel decided on connections of captured pods",
            None,
            MetricType::Counter,
        )?;
        for (verdict, count) in verdicts() {
            let labels = [("verdict", verdict)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one assignment: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
