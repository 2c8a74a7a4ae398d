//! Endpoints and counts for the tests of this module.

use std::net::Ipv4Addr;

use crate::model::service::Endpoint;

/// What share each of `len` indices gets of `picks`; misses count for none.
pub(super) fn shares(len: usize, picks: u64, pick: impl Fn(u64) -> Option<usize>) -> Vec<f64> {
    let mut counts = vec![0_u64; len];
    for index in (0..picks).filter_map(pick) {
        counts[index] += 1;
    }
    let share = |count: u64| count as f64 / picks as f64;
    counts.into_iter().map(share).collect()
}

pub(super) fn endpoints(count: u32) -> Vec<Endpoint> {
    let endpoint = |n| Endpoint {
        address: Ipv4Addr::from_bits(0x0af4_0000 + n).into(),
        port: 8080,
    };
    (0..count).map(endpoint).collect()
}
