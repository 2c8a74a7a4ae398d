//! `fault`: failures on purpose, to see what they do.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::{matching::header_matches, random::below};
use crate::model::{
    route::TextMatch,
    traffic_policy::{AbortWith, Fault},
};

/// What befalls one request: the delay first, then the answer in place of a try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub delay: Option<Duration>,
    pub abort: Option<AbortWith>,
}

/// Either befalls its share of the requests whose headers match, and neither depends on the other:
/// each has half of the random bits.
pub fn decide(fault: &Fault, headers: &HeaderMap, random: u64) -> Injected {
    let met = |percent: u8, wanted: &[(HeaderName, TextMatch)], bits: u64| {
        below(bits, 100) < u64::from(percent)
            && wanted
                .iter()
                .all(|(name, value)| header_matches(value, name, headers))
    };
    let delay = fault.delay.as_ref();
    let abort = fault.abort.as_ref();
    Injected {
        delay: delay
            .filter(|delay| met(delay.percent, &delay.headers, random >> 32 << 32))
            .map(|delay| delay.duration),
        abort: abort
            .filter(|abort| met(abort.percent, &abort.headers, random << 32))
            .map(|abort| abort.answer),
    }
}

#[cfg(test)]
mod tests;
