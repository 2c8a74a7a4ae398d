//! The state of breakers, pools and queues at the time of a scrape.

use std::{fmt, net::SocketAddr};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::model::names::ObjectName;

/// Entries of each list of [`ServicesObserved`] that are shown.
pub const SERVICES_OBSERVED_MAX: usize = 1024;

/// Reads the state of breakers, pools and queues.
pub type ServicesSource = Box<dyn Fn() -> ServicesObserved + Send + Sync>;

/// What is counted at a scrape.
#[derive(Clone, Debug, Default)]
pub struct ServicesObserved {
    /// Those that are not closed.
    pub breakers: Vec<BreakerObserved>,
    /// Services with endpoints that fail their health checks, and how many.
    pub unhealthy: Vec<(ObjectName, u64)>,
    /// Services with anything in their pool.
    pub pools: Vec<PoolObserved>,
    /// Requests that wait in this node's pods' queues (`concurrency.queue`).
    pub queued: u64,
    /// Memory that answers kept for bad times take.
    pub stale_bytes: u64,
    pub stale_answers_kept: u64,
}

#[derive(Clone, Debug)]
pub struct BreakerObserved {
    pub service: ObjectName,
    pub endpoint: SocketAddr,
    /// `open` or `half_open`.
    pub state: &'static str,
}

#[derive(Clone, Debug)]
pub struct PoolObserved {
    pub service: ObjectName,
    pub connections: u64,
    pub pending: u64,
    pub requests: u64,
}

impl ServicesObserved {
    /// Keeps what may be shown. Says whether anything was left out.
    pub(in crate::telemetry) fn truncate(&mut self) -> bool {
        let longest = self.breakers.len();
        let longest = longest.max(self.unhealthy.len()).max(self.pools.len());
        self.breakers.truncate(SERVICES_OBSERVED_MAX);
        self.unhealthy.truncate(SERVICES_OBSERVED_MAX);
        self.pools.truncate(SERVICES_OBSERVED_MAX);
        longest > SERVICES_OBSERVED_MAX
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_breakers(encoder)?;
        by_service(
            encoder,
            "weir_unhealthy_endpoints",
            "Endpoints that fail their health checks",
            self.unhealthy.iter().map(|(service, of)| (service, *of)),
        )?;
        let pools = self.pools.iter();
        by_service(
            encoder,
            "weir_pool_connections",
            "Connections to a service's endpoints that count against its limit",
            pools.clone().map(|pool| (&pool.service, pool.connections)),
        )?;
        by_service(
            encoder,
            "weir_pool_pending_requests",
            "Requests that wait for a connection to a service",
            pools.clone().map(|pool| (&pool.service, pool.pending)),
        )?;
        by_service(
            encoder,
            "weir_pool_requests",
            "Requests that a service works on",
            pools.map(|pool| (&pool.service, pool.requests)),
        )?;
        for (name, help, value) in [
            (
                "weir_concurrency_queue",
                "Requests that wait because their pod works on as much as it may",
                self.queued,
            ),
            (
                "weir_stale_answers_kept",
                "Answers kept to be given in place of an error",
                self.stale_answers_kept,
            ),
            (
                "weir_stale_answers_bytes",
                "Memory of the answers kept to be given in place of an error",
                self.stale_bytes,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }

    fn encode_breakers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const HALF_OPEN: u64 = 1;
        const OPEN: u64 = 2;
        if self.breakers.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(
            "weir_breaker_state",
            "Circuit breakers of endpoints that are not closed: 1 is half open, 2 open",
            None,
            MetricType::Gauge,
        )?;
        for breaker in &self.breakers {
            let endpoint = breaker.endpoint.to_string();
            let labels = [
                ("destination_service_name", &*breaker.service.name),
                ("destination_service_namespace", &*breaker.service.namespace),
                ("endpoint", &endpoint),
            ];
            let state = match breaker.state {
                "half_open" => HALF_OPEN,
                _ => OPEN,
            };
            ConstGauge::new(state).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A family without a series is left out.
fn by_service<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'a ObjectName, u64)>,
) -> fmt::Result {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (service, value) in values {
        let labels = [
            ("destination_service_name", &*service.name),
            ("destination_service_namespace", &*service.namespace),
        ];
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
