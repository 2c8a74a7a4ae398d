//! Hashes that are the same on every machine and in every version, which std's hashers do not
//! promise: agents agree by them on what none tells the others.
//!
//! They resist nobody who looks for collisions. Who finds one only chooses an endpoint that the
//! rule would have given to somebody.

use std::net::IpAddr;

pub(super) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, 64 bits, begun with [`FNV_OFFSET`]. What comes last in `bytes` hardly reaches the upper
/// bits; where they matter, [`mix`] is next.
pub(super) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

/// An IPv4 address is the same one when it is mapped into IPv6.
pub(super) fn fnv_address(hash: u64, address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => fnv(hash, &address.octets()),
        IpAddr::V6(address) => fnv(hash, &address.octets()),
    }
}

/// 2^64 by the golden ratio, made odd.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators"): every bit of `x` reaches every bit of the result, and no two `x` share one.
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The `n`th number of the SplitMix64 sequence that `seed` begins.
pub(super) fn nth(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(GOLDEN.wrapping_mul(n.wrapping_add(1))))
}

#[cfg(test)]
mod tests;
