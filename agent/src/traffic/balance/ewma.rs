//! Peak EWMA with the power of two choices: of two endpoints drawn at random, the one that would
//! answer sooner (Finagle's `PeakEwma`; Mitzenmacher, "The Power of Two Choices").
//!
//! Slow answers count at once, fast ones only slowly: an endpoint that stalls is left alone before
//! requests pile up there. What is known of it fades with time, so that it is tried again.

use std::time::Duration;

use super::weights::Weights;
use crate::traffic::random::below;

/// In which what is known of an endpoint fades to a third.
pub const DECAY: Duration = Duration::from_secs(10);

/// What an endpoint is taken to need while its first answer is outstanding.
pub const RTT_DEFAULT: Duration = Duration::from_secs(1);

/// Costs whose quotient is nearer to one are a tie: noise must not send all clients one way.
const TIE: f64 = 0.7;

/// Added to every average: among endpoints that answer at once, what differs is noise.
pub(super) const FLOOR_SECONDS: f64 = 0.02;

/// An idle endpoint that has not answered for so long is asked again, whatever is known of it: else one
/// that was slow once would get nothing until that has faded.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// First answers of an endpoint, until which it is taken for one that is not known: what a cold
/// application needs for them says little of it.
const FIRST_ANSWERS: u8 = 5;

/// Moving average of an endpoint's time to answer. Times are since any start that is one for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ewma {
    /// Seconds and when they were measured; `None` before the first answer.
    measured: Option<(f64, Duration)>,
    /// Up to [`FIRST_ANSWERS`].
    answers: u8,
}

impl Ewma {
    /// A request took `rtt`, until the head of its answer.
    pub fn record(&mut self, rtt: Duration, now: Duration) {
        let rtt = rtt.as_secs_f64();
        let average = match self.measured {
            Some((average, at)) if rtt < average && self.answers >= FIRST_ANSWERS => {
                let since = now.saturating_sub(at);
                // The first answer after a silence says as much as all that was before it.
                let most = if since < ASKED_AGAIN_AFTER { 1.0 } else { 0.5 };
                let kept = kept(since).min(most);
                average * kept + rtt * (1.0 - kept)
            }
            // The best of the first ones.
            Some((average, _)) if self.answers < FIRST_ANSWERS => average.min(rtt),
            // One slow answer may be chance, a second one hardly.
            Some((average, _)) => (average + rtt) / 2.0,
            None => rtt,
        };
        // Workers' clocks are read before they report.
        let at = self.measured.map_or(now, |(_, at)| at.max(now));
        self.measured = Some((average, at));
        self.answers = self.answers.saturating_add(1).min(FIRST_ANSWERS);
    }

    /// What one more request would cost beside the `pending` ones, in seconds of waiting.
    ///
    /// Nothing at an idle endpoint that is not known or was not asked for a while, so that it is tried; one that has
    /// never answered is taken for a slow one while a request is outstanding, so that it is not
    /// flooded.
    pub fn cost(&self, now: Duration, pending: usize) -> f64 {
        self.cost_beside(now, pending as f64)
    }

    /// As [`Ewma::cost`], of an endpoint whose pending requests count for more than one each, or for
    /// less.
    pub fn cost_beside(&self, now: Duration, pending: f64) -> f64 {
        match self.measured {
            Some((average, _)) if self.answers < FIRST_ANSWERS => {
                (average + FLOOR_SECONDS) * pending
            }
            Some((_, at)) if pending == 0.0 && now.saturating_sub(at) >= ASKED_AGAIN_AFTER => 0.0,
            Some((average, at)) => {
                let average = average * kept(now.saturating_sub(at));
                (average + FLOOR_SECONDS) * (pending + 1.0)
            }
            None => RTT_DEFAULT.as_secs_f64() * pending,
        }
    }
}

/// What is left of an average after `elapsed`.
fn kept(elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

/// The cheaper of two of `len` endpoints drawn at random, either of them when they are about as
/// good. `None` of none.
pub fn pick(len: usize, random: u64, cost: impl Fn(usize) -> f64) -> Option<usize> {
    match len {
        0 => None,
        1 => Some(0),
        _ => {
            // Which of the two comes first is chance, so that a tie is tossed for.
            let (first, second) = p2c(len, random);
            Some(match cost(second) < cost(first) * TIE {
                true => second,
                false => first,
            })
        }
    }
}

/// As [`pick`], of two that were drawn by weight. `cost` is given what to multiply an endpoint's
/// pending requests with ([`Ewma::cost_beside`]): 1 for the heavier of the two, and as much more for
/// the lighter one as it is lighter. `None` where none has any weight.
///
/// Endpoints about as good get their shares by weight. Were whole costs divided by the weights, the
/// lighter of two idle endpoints would get nothing; so only what is under way comes to be in
/// proportion to the weights.
pub fn pick_weighted(
    weights: &Weights<impl Fn(usize) -> f64>,
    random: u64,
    cost: impl Fn(usize, f64) -> f64,
) -> Option<usize> {
    let (first, second) = weights.pair(random)?;
    if first == second {
        return Some(first);
    }
    let (of_first, of_second) = (weights.of(first), weights.of(second));
    let heavier = of_first.max(of_second);
    let first_cost = cost(first, heavier / of_first);
    Some(match cost(second, heavier / of_second) < first_cost * TIE {
        true => second,
        false => first,
    })
}

/// Two different indices below `len`, every pair in either order being as likely; twice zero where
/// there are no two.
pub fn p2c(len: usize, random: u64) -> (usize, usize) {
    if len < 2 {
        return (0, 0);
    }
    // Half of the bits for each: 2^32 is far more than there are endpoints.
    let draw = |bits: u64, bound: usize| below(bits << 32, bound as u64) as usize;
    let first = draw(random >> 32, len);
    let second = draw(random & 0xffff_ffff, len - 1);
    (first, second + usize::from(second >= first))
}

#[cfg(test)]
mod tests;
