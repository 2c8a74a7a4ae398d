//! Maglev: a table in which each endpoint has its share of the places, and a key has one place
//! (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4).
//! A look-up is one read and shares are exact; for that a few keys of others move when an endpoint
//! leaves, less than one of a hundred.
//!
//! As with the ring, all agents have the same table.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{order::Seen, ring_hash::seed};
use crate::{model::service::Endpoint, traffic::hash::nth};

/// A prime, at least a hundred times as many as the 655 endpoints for which shares are then within a
/// percent. It is the same for few endpoints: at another size every key moves.
pub const TABLE: usize = 65_537;

/// Those after it have no place.
pub const ENDPOINTS_MAX: usize = u16::MAX as usize;

/// Places that a key whose endpoint is unfit is given by chance, before it goes on with the next
/// ones in the table.
const REHASHES: u64 = 64;

#[derive(Clone, Debug, Default)]
pub struct Maglev {
    /// Of [`TABLE`] places; empty where no endpoint has any weight.
    table: Box<[u16]>,
    fit: usize,
    endpoints: usize,
}

/// An endpoint while the table is filled.
struct Filling {
    index: u16,
    weight: f64,
    /// Its permutation of the places: `offset + n × skip`.
    next: usize,
    skip: usize,
    places: u32,
}

impl Maglev {
    /// `weight` of an index below `endpoints.len()`: a share beside the others'; those without any
    /// get no place.
    pub fn new(endpoints: &[Endpoint], weight: impl Fn(usize) -> f64) -> Self {
        let mut filling: Vec<(Endpoint, Filling)> = (0_u16..)
            .zip(endpoints)
            .take(ENDPOINTS_MAX)
            .map(|(index, endpoint)| (*endpoint, Filling::new(index, *endpoint, &weight)))
            .filter(|(_, filling)| filling.weight > 0.0)
            .collect();
        // Who comes first gets the better place: not by the order of the list.
        filling.sort_unstable_by_key(|(endpoint, filling)| (*endpoint, filling.index));
        let mut filling: Vec<Filling> = filling.into_iter().map(|(_, filling)| filling).collect();
        let table = fill(&mut filling);
        Self {
            fit: filling.iter().filter(|filling| filling.places > 0).count(),
            table,
            endpoints: endpoints.len(),
        }
    }

    /// Every endpoint that has a place, once, in the order in which `hash` meets them. Who takes the
    /// first that is fit moves the keys of an unfit one and no others, and those by the others'
    /// shares.
    pub fn order(&self, hash: u64) -> impl Iterator<Item = usize> {
        let len = self.table.len() as u64;
        let start = hash.checked_rem(len).unwrap_or(0);
        let rehashed = (0..REHASHES).filter_map(move |n| nth(hash, n).checked_rem(len));
        let following = (0..len).map(move |n| (start + n) % len);
        let mut seen = Seen::default();
        std::iter::once(start)
            .chain(rehashed)
            .chain(following)
            .filter_map(|place| self.table.get(place as usize))
            .map(|index| usize::from(*index))
            .filter(move |index| seen.insert(*index, self.endpoints))
            .take(self.fit)
    }
}

impl Filling {
    fn new(index: u16, endpoint: Endpoint, weight: impl Fn(usize) -> f64) -> Self {
        let seed = seed(endpoint);
        Self {
            index,
            weight: weight(index.into()).max(0.0),
            next: (nth(seed, 0) % TABLE as u64) as usize,
            skip: (nth(seed, 1) % (TABLE as u64 - 1)) as usize + 1,
            places: 0,
        }
    }

    /// When its next place is due, as bits that are ordered as the time is: it is positive.
    fn due(&self) -> u64 {
        (f64::from(self.places + 1) / self.weight).to_bits()
    }
}

/// Whose next place is due first takes the next free one of its permutation.
fn fill(filling: &mut [Filling]) -> Box<[u16]> {
    if filling.is_empty() {
        return Box::default();
    }
    let mut table = vec![None; TABLE];
    let mut turns: BinaryHeap<_> = filling
        .iter()
        .enumerate()
        .map(|(at, filling)| Reverse((filling.due(), at)))
        .collect();
    for _ in 0..TABLE {
        let Some(mut turn) = turns.peek_mut() else {
            break;
        };
        let at = turn.0.1;
        let Some(filling) = filling.get_mut(at) else {
            break;
        };
        loop {
            let place = filling.next;
            filling.next = (place + filling.skip) % TABLE;
            if let Some(free @ None) = table.get_mut(place) {
                *free = Some(filling.index);
                break;
            }
        }
        filling.places += 1;
        *turn = Reverse((filling.due(), at));
    }
    table.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
