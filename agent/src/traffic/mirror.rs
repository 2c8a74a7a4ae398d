//! Which requests are sent to a mirror as well (`HTTPRequestMirrorFilter`).

use super::random::below;
use crate::model::route::Mirror;

/// `numerator` of `denominator` requests, by chance.
pub fn chosen(mirror: &Mirror, random: u64) -> bool {
    below(random, mirror.denominator.into()) < mirror.numerator.into()
}

#[cfg(test)]
mod tests;
