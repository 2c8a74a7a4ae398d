//! `loadBalancer.locality`, `trafficDistribution`: which endpoints are near, and when the others
//! are better.
//!
//! Two things send requests away. Where too few of the near endpoints are fit, the others get what
//! is over ([`pick`]); where all are fit and yet too few for what is asked of them, answers take
//! longer, and the others get a request when they would answer much sooner ([`spills`]).

use super::weights::fraction;
use crate::model::{service::Place, traffic_policy::Locality};

/// While at least this part of the near endpoints is fit (1 by [`OVERPROVISIONING`], 71 %) they get
/// everything (Envoy's `overprovisioning_factor`).
pub const OVERPROVISIONING: f64 = 1.4;

/// By how much the others must be better.
pub const SPILL_FACTOR: f64 = 3.0;

/// Waits that are shorter are no lack of capacity, whatever the others would do: a moment's noise must
/// not send requests to another zone, which costs money.
pub const SPILL_FLOOR_SECONDS: f64 = 0.05;

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near<'a> {
    pub node: &'a str,
    /// `None`: unknown, and so none is near for its zone.
    pub zone: Option<&'a str>,
}

/// From near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Only with [`Locality::PreferNode`].
    Node,
    Zone,
    Rest,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Node, Self::Zone, Self::Rest];
}

/// How near an endpoint is, as far as that matters.
pub fn tier(locality: Locality, near: Near<'_>, place: &Place) -> Tier {
    let same_node = place.node.as_deref() == Some(near.node);
    let same_zone = match (near.zone, place.zone.as_deref()) {
        (Some(near), Some(zone)) => near == zone,
        // An endpoint of this node is of this node's zone, whether that is said of it or not.
        (Some(_), None) => same_node,
        (None, _) => false,
    };
    match locality {
        Locality::PreferNode if same_node => Tier::Node,
        Locality::PreferNode | Locality::PreferZone if same_zone => Tier::Zone,
        _ => Tier::Rest,
    }
}

/// The indices of `places` by [`Tier`], in the order of [`Tier::ALL`].
pub fn tiers(locality: Locality, near: Near<'_>, places: &[Place]) -> [Vec<usize>; 3] {
    let mut tiers = [const { Vec::new() }; 3];
    for (index, place) in places.iter().enumerate() {
        if let Some(tier) = tiers.get_mut(tier(locality, near, place) as usize) {
            tier.push(index);
        }
    }
    tiers
}

/// What share of the requests a tier can bear of whose `total` endpoints so many are `fit`.
pub fn local_share(fit: usize, total: usize) -> f64 {
    match total {
        0 => 0.0,
        _ => (OVERPROVISIONING * fit as f64 / total as f64).min(1.0),
    }
}

/// Which tier a request goes to, of each being given how many endpoints are fit and how many there
/// are: the nearest gets what it can bear, the next one of what is left. Where all together cannot
/// bear everything, each gets more in proportion. `None` where none is fit.
pub fn pick(tiers: [(usize, usize); 3], random: u64) -> Option<Tier> {
    let mut left = 1.0;
    let shares = tiers.map(|(fit, total)| {
        let share = local_share(fit, total).min(left);
        left -= share;
        share
    });
    let mut point = fraction(random) * (1.0 - left);
    let shares = Tier::ALL.into_iter().zip(shares);
    let mut last = None;
    for (tier, share) in shares.filter(|(_, share)| *share > 0.0) {
        last = Some(tier);
        if point < share {
            break;
        }
        point -= share;
    }
    last
}

/// Whether the request is better off at a far endpoint than at the near one, each being chosen as
/// the best of its tier: a near one that is short of capacity shows by its cost
/// ([`super::ewma::Ewma::cost`]).
///
/// A far one of which nothing is known is taken for one that answers at once, not for a better one
/// than that.
pub fn spills(near_cost: f64, far_cost: f64) -> bool {
    near_cost > SPILL_FACTOR * far_cost.max(SPILL_FLOOR_SECONDS)
}

#[cfg(test)]
mod tests;
