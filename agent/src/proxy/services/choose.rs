//! Which endpoint of a service gets a request or a connection.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{EndpointState, Set, Trial, View, endpoint::Fitness};
use crate::{
    model::{
        service::{Endpoint, EndpointSet, Place, ServiceState, WEIGHT},
        traffic_policy::{Algorithm, HashOn, Locality, Policy},
    },
    proxy::l7::balance::Balancer,
    traffic::balance::{
        ewma, least_request,
        locality::{self, Near, Tier},
        maglev::Maglev,
        random,
        ring_hash::Ring,
        round_robin, slow_start,
        weights::Weights,
    },
};

/// What a choice depends on.
pub(in crate::proxy) struct Wanted<'a> {
    /// The family that the client dialled.
    pub(in crate::proxy) ipv6: bool,
    /// Not these, as long as there are others.
    pub(in crate::proxy) tried: &'a [Endpoint],
    /// Of what the policy's `hashOn` names.
    pub(in crate::proxy) hash: Option<u64>,
    /// Connections say nothing of how long an endpoint takes: ewma is round robin for them.
    pub(in crate::proxy) connection: bool,
}

/// Why none is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Unfit {
    /// There is none, or none that passes its health checks.
    None,
    /// Every breaker is open.
    Tripped { retry_in: Duration },
    /// All were tried that may be.
    AllTried,
}

/// What is worked out once for a set of endpoints.
pub(super) struct Choosing {
    algorithm: Algorithm,
    /// In the order of the endpoints; `None`: all are alike.
    weights: Option<Vec<f64>>,
    /// No weight is above it.
    heaviest: f64,
    slow_start: Duration,
    /// Until then some endpoint has less than its whole share.
    ramps_until: Duration,
    /// In the order of the endpoints; `None`: none is nearer than another.
    tiers: Option<Vec<Tier>>,
    /// Only endpoints of the client's node.
    node_only: bool,
    /// For each family that clients dial, of the endpoints that are usable.
    tables: [OnceLock<Table>; 2],
}

/// Which endpoint a hash belongs to.
enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

impl Choosing {
    pub(super) fn new(
        service: &ServiceState,
        of: &EndpointSet,
        policy: &Policy,
        (node, zone): (&str, Option<&Arc<str>>),
        states: &[Arc<EndpointState>],
    ) -> Self {
        let balancer = policy.load_balancer.clone().unwrap_or_default();
        let locality = match balancer.locality {
            Locality::None => service.service.distribution,
            said => said,
        };
        let node_only = service.service.node_local;
        let near = Near {
            node,
            zone: zone.map(|zone| &**zone),
        };
        let wanted = if node_only {
            Locality::PreferNode
        } else {
            locality
        };
        let tiers = (wanted != Locality::None).then(|| {
            let elsewhere = vec![Tier::Rest; of.endpoints.len()];
            let of_places = of
                .places
                .iter()
                .map(|place| locality::tier(wanted, near, place));
            // One for each, whatever is known of it.
            of_places
                .chain(elsewhere)
                .take(of.endpoints.len())
                .collect()
        });
        let weight = |place: &Place| f64::from(place.weight.unwrap_or(WEIGHT));
        let mut weights: Vec<f64> = of.places.iter().map(weight).collect();
        weights.dedup();
        let heaviest = of.places.iter().map(weight).fold(0.0, f64::max);
        let ramps_until = match balancer.slow_start {
            Duration::ZERO => Duration::ZERO,
            window => states
                .iter()
                .filter_map(|state| state.since.map(|since| since.saturating_add(window)))
                .max()
                .unwrap_or_default(),
        };
        Self {
            algorithm: balancer.algorithm,
            weights: (weights.len() > 1).then(|| of.places.iter().map(weight).collect()),
            heaviest: if weights.len() > 1 { heaviest } else { 1.0 },
            slow_start: balancer.slow_start,
            ramps_until,
            tiers,
            node_only,
            tables: Default::default(),
        }
    }

    fn weighs(&self, now: Duration) -> bool {
        self.weights.is_some() || now < self.ramps_until
    }

    fn weight(&self, set: &Set, index: usize, now: Duration) -> f64 {
        let fixed = self.weights.as_ref().and_then(|weights| weights.get(index));
        let since = set.states[index].since.filter(|_| now < self.ramps_until);
        let ramp = since.map_or(1.0, |since| {
            slow_start::share(now.saturating_sub(since), self.slow_start)
        });
        fixed.copied().unwrap_or(1.0) * ramp
    }

    fn table(&self, set: &Set, ipv6: bool, usable: &Range<usize>) -> Option<&Table> {
        let made = || {
            let endpoints = &set.of.endpoints[usable.clone()];
            let weight = |index: usize| {
                let weights = self.weights.as_ref();
                let fixed = weights.and_then(|weights| weights.get(usable.start + index));
                fixed.copied().unwrap_or(1.0)
            };
            match self.algorithm {
                Algorithm::Maglev => Table::Maglev(Maglev::new(endpoints, weight)),
                _ => Table::Ring(Ring::new(endpoints, weight)),
            }
        };
        self.algorithm
            .is_hash()
            .then(|| self.tables[usize::from(ipv6)].get_or_init(made))
    }
}

impl View {
    /// What the policy hashes, if it does.
    pub(in crate::proxy) fn hash_on(&self) -> Option<&HashOn> {
        self.policy.load_balancer.as_ref()?.hash_on.as_ref()
    }

    /// An endpoint for one more request, and the right to send it there.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::proxy) fn choose(
        self: &Arc<Self>,
        set: &Arc<EndpointSet>,
        balancer: &Balancer,
        wanted: &Wanted<'_>,
    ) -> Result<(Endpoint, Trial), Unfit> {
        let set = self.sets.iter().find(|known| Arc::ptr_eq(&known.of, set));
        let set = set.ok_or(Unfit::None)?;
        // Others may take the last room of a half-open one between a look and the choice.
        for _ in 0..CHOICES_MAX {
            let now = self.hub.now();
            let index = Choice {
                view: self,
                set,
                balancer,
                wanted,
                usable: set.of.usable_range(wanted.ipv6),
                now,
            }
            .index()?;
            if let Ok(trial) = Trial::begin(self, &set.states[index], now) {
                return Ok((set.states[index].endpoint, trial));
            }
        }
        Err(Unfit::Tripped {
            retry_in: Duration::ZERO,
        })
    }
}

/// Looks at a set that changes meanwhile.
const CHOICES_MAX: usize = 4;

struct Choice<'a> {
    view: &'a View,
    set: &'a Set,
    balancer: &'a Balancer,
    wanted: &'a Wanted<'a>,
    usable: Range<usize>,
    now: Duration,
}

impl Choice<'_> {
    fn index(&self) -> Result<usize, Unfit> {
        let choosing = &self.set.choosing;
        if self.usable.is_empty() {
            return Err(Unfit::None);
        }
        let plain = self.set.counts.iter().all(|counts| counts.is_none())
            && self.wanted.tried.is_empty()
            && choosing.tiers.is_none()
            && !choosing.weighs(self.now);
        if plain {
            let at = |index: usize| self.usable.start + index;
            return self.plainly(self.usable.len(), at).ok_or(Unfit::None);
        }
        let fit = self.fit()?;
        self.among(&fit).ok_or(Unfit::None)
    }

    /// Those that may be sent to. One whose breaker wants to know whether it works again comes
    /// before all others.
    fn fit(&self) -> Result<Vec<usize>, Unfit> {
        let choosing = &self.set.choosing;
        let (mut fit, mut probes) = (Vec::with_capacity(self.usable.len()), Vec::new());
        let (mut tried, mut retry_in) = (false, None::<Duration>);
        for index in self.usable.clone() {
            let state = &self.set.states[index];
            let tier = choosing.tiers.as_ref().map(|tiers| tiers[index]);
            if choosing.node_only && tier != Some(Tier::Node) {
                continue;
            }
            if self.wanted.tried.contains(&state.endpoint) {
                tried = true;
                continue;
            }
            match state.fitness(self.view, self.now) {
                Fitness::Fit => fit.push(index),
                Fitness::Probe => probes.push(index),
                Fitness::Tripped { retry_in: left } => {
                    retry_in = Some(retry_in.map_or(left, |least| least.min(left)));
                }
                Fitness::Unhealthy => {}
            }
        }
        if !probes.is_empty() {
            return Ok(probes);
        }
        match (fit.is_empty(), tried, retry_in) {
            (false, ..) => Ok(fit),
            (true, true, _) => Err(Unfit::AllTried),
            (true, false, Some(retry_in)) => Err(Unfit::Tripped { retry_in }),
            (true, false, None) => Err(Unfit::None),
        }
    }

    /// The best of the near ones, as long as enough of them are fit and they are not much slower.
    fn among(&self, fit: &[usize]) -> Option<usize> {
        let tiers = match &self.set.choosing.tiers {
            Some(tiers) if !self.set.choosing.node_only => tiers,
            _ => return self.of_list(fit),
        };
        let of = |tier: Tier| move |index: &&usize| tiers[**index] == tier;
        let usable: Vec<usize> = self.usable.clone().collect();
        let counts = Tier::ALL.map(|tier| {
            let (fit, all) = (fit.iter().filter(of(tier)), usable.iter().filter(of(tier)));
            (fit.count(), all.count())
        });
        let tier = locality::pick(counts, self.balancer.random())?;
        let near: Vec<usize> = fit.iter().filter(of(tier)).copied().collect();
        let farther = |index: &&usize| tiers[**index] > tier;
        let far: Vec<usize> = fit.iter().filter(farther).copied().collect();
        let (near, far) = (self.of_list(&near)?, self.of_list(&far));
        let spills = |far: &usize| locality::spills(self.cost(near, 1.0), self.cost(*far, 1.0));
        far.filter(spills).or(Some(near))
    }

    fn of_list(&self, list: &[usize]) -> Option<usize> {
        let choosing = &self.set.choosing;
        if choosing.weighs(self.now) {
            let weight = |index: usize| choosing.weight(self.set, index, self.now);
            // All that are left weigh nothing: then they are alike.
            if list.iter().any(|index| weight(*index) > 0.0) {
                return self.pick(list.len(), |i| list[i], weight);
            }
        }
        self.plainly(list.len(), |i| list[i])
    }

    /// One of `len` that all weigh the same.
    fn plainly(&self, len: usize, at: impl Fn(usize) -> usize) -> Option<usize> {
        match self.set.choosing.algorithm {
            Algorithm::Ewma if !self.wanted.connection => {
                let cost = |i: usize| self.cost(at(i), 1.0);
                ewma::pick(len, self.balancer.random(), cost).map(&at)
            }
            Algorithm::Ewma | Algorithm::RoundRobin => {
                round_robin::pick(&self.set.of.next, len).map(&at)
            }
            _ => self.pick(len, at, |_| self.set.choosing.heaviest),
        }
    }

    /// One of `len`, each of which `at` makes an index of the set.
    fn pick(
        &self,
        len: usize,
        at: impl Fn(usize) -> usize,
        weight: impl Fn(usize) -> f64,
    ) -> Option<usize> {
        let choosing = &self.set.choosing;
        let turn = &self.set.of.next;
        let weights = Weights::new(len, choosing.heaviest, |i| weight(at(i)));
        let random = || self.balancer.random();
        let chosen = match choosing.algorithm {
            _ if len <= 1 => (len == 1).then_some(0),
            Algorithm::RingHash | Algorithm::Maglev => match self.wanted.hash {
                Some(hash) => return self.by_hash(hash, len, &at),
                None => random::pick(&weights, random()),
            },
            Algorithm::Ewma if self.wanted.connection => round_robin::pick_weighted(turn, &weights),
            Algorithm::Ewma => {
                let cost = |i: usize, factor: f64| self.cost(at(i), factor);
                ewma::pick_weighted(&weights, random(), cost)
            }
            Algorithm::LeastRequest => {
                let pending = |i: usize| self.balancer.pending(self.set.states[at(i)].endpoint);
                least_request::pick(&weights, random(), pending)
            }
            Algorithm::RoundRobin => round_robin::pick_weighted(turn, &weights),
            Algorithm::Random => random::pick(&weights, random()),
        };
        chosen.map(at)
    }

    /// The first of the table's order that is a candidate. Those that weigh nothing are not in the
    /// table: where only such are left, they are alike.
    fn by_hash(&self, hash: u64, len: usize, at: &impl Fn(usize) -> usize) -> Option<usize> {
        let usable = &self.usable;
        let table = self
            .set
            .choosing
            .table(self.set, self.wanted.ipv6, usable)?;
        // Candidates are in the order of the set.
        let is_candidate = |index: &usize| {
            let (mut from, mut to) = (0, len);
            while from < to {
                let middle = (from + to) / 2;
                if at(middle) < *index {
                    from = middle + 1
                } else {
                    to = middle
                }
            }
            from < len && at(from) == *index
        };
        let in_set = |index: usize| usable.start + index;
        let found = match table {
            Table::Ring(ring) => ring.order(hash).map(in_set).find(is_candidate),
            Table::Maglev(maglev) => maglev.order(hash).map(in_set).find(is_candidate),
        };
        let any = || Some(at(usize::try_from(hash.checked_rem(len as u64)?).ok()?));
        found.or_else(any)
    }

    fn cost(&self, index: usize, factor: f64) -> f64 {
        self.balancer.cost(self.set.states[index].endpoint, factor)
    }
}

#[cfg(test)]
mod tests;
