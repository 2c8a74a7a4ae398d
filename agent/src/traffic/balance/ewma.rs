//! Peak EWMA with the power of two choices: of two endpoints drawn at random, the one that would
//! answer sooner (Finagle's `PeakEwma`; Mitzenmacher, "The Power of Two Choices").
//!
//! A slow answer counts at once, a fast one only slowly: an endpoint that stalls is left alone
//! before requests pile up there. What is known of it fades with time, so that it is tried again.

use std::time::Duration;

use crate::traffic::random::below;

/// In which what is known of an endpoint fades to a third.
pub const DECAY: Duration = Duration::from_secs(10);

/// What an endpoint is taken to need while its first answer is outstanding.
pub const RTT_DEFAULT: Duration = Duration::from_secs(1);

/// Costs whose quotient is nearer to one are a tie: noise must not send all clients one way.
const TIE: f64 = 0.7;

/// Added to every average: among endpoints that answer at once, what differs is noise.
const FLOOR_SECONDS: f64 = 0.005;

/// Moving average of an endpoint's time to answer. Times are since any start that is one for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ewma {
    /// Seconds and when they were measured; `None` before the first answer.
    measured: Option<(f64, Duration)>,
}

impl Ewma {
    /// A request took `rtt`, until the head of its answer.
    pub fn record(&mut self, rtt: Duration, now: Duration) {
        let rtt = rtt.as_secs_f64();
        let average = match self.measured {
            Some((average, at)) if rtt < average => {
                let kept = kept(now.saturating_sub(at));
                average * kept + rtt * (1.0 - kept)
            }
            Some(_) | None => rtt,
        };
        // Workers' clocks are read before they report.
        let at = self.measured.map_or(now, |(_, at)| at.max(now));
        self.measured = Some((average, at));
    }

    /// What one more request would cost beside the `pending` ones, in seconds of waiting.
    ///
    /// Nothing at an endpoint that never answered and is idle, so that it is tried at once; with a
    /// request outstanding it is taken for a slow one, so that it is not flooded.
    pub fn cost(&self, now: Duration, pending: usize) -> f64 {
        match self.measured {
            Some((average, at)) => {
                let average = average * kept(now.saturating_sub(at));
                (average + FLOOR_SECONDS) * (pending as f64 + 1.0)
            }
            None => RTT_DEFAULT.as_secs_f64() * pending as f64,
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
