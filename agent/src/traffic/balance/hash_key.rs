//! `loadBalancer.hashOn`: of a request, what ring-hash and maglev hash.

use std::net::IpAddr;

use http::{HeaderMap, header::COOKIE};

use crate::{
    model::traffic_policy::HashOn,
    traffic::{
        affinity::cookies,
        hash::{FNV_OFFSET, fnv, fnv_address, mix},
    },
};

/// The same for the same key at every agent. `None` where the request has no such header or cookie,
/// or an empty one. A header of several lines counts as one line (RFC 9110 §5.3); of cookies of one
/// name, the first.
pub fn of(hash_on: &HashOn, headers: &HeaderMap, source: IpAddr) -> Option<u64> {
    let hash = match hash_on {
        HashOn::Header(name) => {
            let lines = headers.get_all(name).iter();
            lines
                .map(|line| line.as_bytes())
                .filter(|line| !line.is_empty())
                .fold(None, |hash, line| {
                    let hash = hash.map_or(FNV_OFFSET, |hash| fnv(hash, b", "));
                    Some(fnv(hash, line))
                })?
        }
        HashOn::Cookie(name) => {
            let lines = headers.get_all(COOKIE).iter();
            let (_, value) = lines
                .flat_map(|line| cookies(line.as_bytes()))
                .find(|(found, _)| *found == &**name)?;
            (!value.is_empty()).then(|| fnv(FNV_OFFSET, value.as_bytes()))?
        }
        HashOn::Source => fnv_address(FNV_OFFSET, source),
    };
    Some(mix(hash))
}

#[cfg(test)]
mod tests;
