//! Randomness for serial numbers, file names and jitter, from the TLS library's generator.

use super::{error::IdentityError, verify::crypto_provider};

pub(super) fn fill(bytes: &mut [u8]) -> Result<(), IdentityError> {
    crypto_provider()
        .secure_random
        .fill(bytes)
        .map_err(|_| IdentityError::Random)
}

/// Between 0 and 1; one half where there is no randomness, since jitter can do without.
pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
