//! Which backend of a rule a request goes to, by weight (`HTTPRouteRule.backendRefs`).

use super::random::below;
use crate::model::route::ResolvedRule;

/// The index of a backend, its share being its weight by the sum of all. `None` where the sum is
/// zero, or where there is no backend: the request gets 500.
///
/// A backend whose reference is refused keeps its share; the caller answers 500 for it.
pub fn pick(rule: &ResolvedRule, random: u64) -> Option<usize> {
    let mut left = below(random, rule.weights);
    let backends = rule.rule().backends.iter();
    backends.into_iter().position(|backend| {
        let weight = u64::from(backend.weight);
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    })
}

#[cfg(test)]
mod tests;
