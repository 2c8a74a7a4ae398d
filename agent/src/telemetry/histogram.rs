//! Histograms with Istio's buckets.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::MetricType,
};

/// Upper bounds, in milliseconds or bytes alike: Envoy's defaults, which Istio keeps.
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Values are whole numbers, of which `UNIT` make one of what is exposed: with 1000, microseconds
/// are exposed as milliseconds. Whole numbers can be added up without a lock.
#[derive(Debug, Default)]
pub(super) struct Histogram<const UNIT: u64> {
    /// Not cumulative; the last one has no upper bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl<const UNIT: u64> Histogram<UNIT> {
    pub(super) fn observe(&self, value: u64) {
        let exposed = Self::exposed(value);
        let bucket = BOUNDS.partition_point(|bound| *bound < exposed);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Whether anything was observed.
    pub(super) fn used(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.load(Relaxed) > 0)
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a float is what a scraper reads"
    )]
    fn exposed(value: u64) -> f64 {
        value as f64 / UNIT as f64
    }
}

impl<const UNIT: u64> EncodeMetric for Histogram<UNIT> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut buckets = [(f64::INFINITY, 0); BOUNDS.len() + 1];
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        for ((bucket, bound), count) in buckets.iter_mut().zip(bounds).zip(&self.buckets) {
            *bucket = (bound, count.load(Relaxed));
        }
        // Not counted apart, so that it is the last bucket's value whoever adds meanwhile.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Self::exposed(self.sum.load(Relaxed));
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests;
