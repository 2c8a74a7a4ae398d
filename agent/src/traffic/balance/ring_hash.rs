//! Ring hash: each endpoint has many points on a ring, and a key goes to the owner of the first
//! point after it (Karger et al., "Consistent Hashing and Random Trees"; libketama). When an
//! endpoint leaves, only its own keys move.
//!
//! Points depend on the endpoint's address, port and weight alone, neither on the order in which
//! endpoints are listed nor on the machine: all agents send a key the same way.

use super::order::Seen;
use crate::{
    model::service::Endpoint,
    traffic::hash::{FNV_OFFSET, fnv, fnv_address, nth},
};

/// Of a ring, save that everybody has one. Past what it allows each endpoint has fewer than [`ENDPOINT_POINTS`], 100 at 655
/// endpoints; then, and with weights, a change moves a few keys of others too.
pub const RING_POINTS_MAX: usize = 65_536;

/// Of an endpoint of average weight. An endpoint's keys are then by 3 %, as standard deviation, more
/// or fewer than its share.
pub const ENDPOINT_POINTS: usize = 1_000;

const ROUNDING: f64 = 1e-6;

#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Ascending.
    points: Box<[u64]>,
    /// Whose point it is.
    owners: Box<[u32]>,
    /// How many own a point.
    fit: usize,
    endpoints: usize,
}

impl Ring {
    /// `weight` of an index below `endpoints.len()`: a share beside the others'; those without any
    /// own nothing.
    pub fn new(endpoints: &[Endpoint], weight: impl Fn(usize) -> f64) -> Self {
        let weight = |index| weight(index).max(0.0);
        let weighed = (0..endpoints.len()).map(&weight);
        let (fit, total) = weighed
            .filter(|weight| *weight > 0.0)
            .fold((0_usize, 0.0), |(fit, total), weight| {
                (fit + 1, total + weight)
            });
        let size = (fit * ENDPOINT_POINTS).min(RING_POINTS_MAX);
        let mut ring = Vec::with_capacity(size);
        for (index, endpoint) in endpoints.iter().enumerate() {
            let weight = weight(index);
            if weight > 0.0 {
                let seed = seed(*endpoint);
                // One for everybody, however light, and a share of the rest. What rounding takes
                // away must not tell apart who weighs the same.
                let share = weight / total * size.saturating_sub(fit) as f64;
                let points = 1 + (share + ROUNDING).floor() as u64;
                ring.extend((0..points).map(|n| (nth(seed, n), *endpoint, index as u32)));
            }
        }
        ring.sort_unstable();
        Self {
            points: ring.iter().map(|(point, ..)| *point).collect(),
            owners: ring.iter().map(|(.., owner)| *owner).collect(),
            fit,
            endpoints: endpoints.len(),
        }
    }

    /// Every endpoint that owns a point, once, in the order in which `hash` meets them. Who takes the
    /// first that is fit moves the keys of an unfit one and no others.
    pub fn order(&self, hash: u64) -> impl Iterator<Item = usize> {
        let at = self.points.partition_point(|point| *point < hash);
        let (before, after) = self.owners.split_at(at);
        let mut seen = Seen::default();
        let owners = after.iter().chain(before).map(|owner| *owner as usize);
        let distinct = owners.filter(move |owner| seen.insert(*owner, self.endpoints));
        // Without it, the last would be sought after on the whole ring once more.
        distinct.take(self.fit)
    }
}

/// Of an endpoint's own random numbers.
pub(super) fn seed(endpoint: Endpoint) -> u64 {
    let hash = fnv_address(FNV_OFFSET, endpoint.address);
    fnv(hash, &endpoint.port.to_be_bytes())
}

#[cfg(test)]
mod tests;
