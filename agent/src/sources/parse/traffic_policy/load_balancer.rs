//! `loadBalancer`.

use std::time::Duration;

use serde::Deserialize;

use super::values::{HOUR, SHORTEST};
use crate::{
    model::traffic_policy::{Algorithm, HashOn, LoadBalancer, Locality},
    sources::parse::{field::FieldReason, path::Path, route::Reader},
};

const ALGORITHMS: &str = "ewma, least-request, round-robin, random, ring-hash, maglev";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    /// ewma (the default), least-request, round-robin, random, ring-hash or maglev.
    algorithm: Option<&'a str>,
    /// Of ring-hash and maglev, which need it, alone.
    #[serde(borrow)]
    hash_on: Option<HashSpec<'a>>,
    /// In which a new endpoint's share grows to its whole: 1ms to 1h, or 0s, the default: at once.
    slow_start: Option<&'a str>,
    /// prefer-zone or prefer-node. Default: the Service's `trafficDistribution`.
    locality: Option<&'a str>,
}

/// Exactly one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashSpec<'a> {
    /// The name of a header.
    header: Option<&'a str>,
    /// The name of a cookie.
    cookie: Option<&'a str>,
    /// `address`: the client pod's.
    source: Option<&'a str>,
}

/// `None` only with an error.
pub(super) fn parse(
    reader: &mut Reader<'_>,
    spec: &Spec<'_>,
    at: Path<'_>,
) -> Option<LoadBalancer> {
    let algorithm = algorithm(reader, spec.algorithm, at.key("algorithm"));
    let at_hash = at.key("hashOn");
    let hash_on = spec
        .hash_on
        .as_ref()
        .map(|spec| hash_on(reader, spec, at_hash));
    if let Some(algorithm) = algorithm {
        match (algorithm.is_hash(), &hash_on) {
            (true, None) => reader.push(at_hash, FieldReason::Required),
            (false, Some(_)) => {
                let with = format!("algorithm {}", spec.algorithm.unwrap_or("ewma"));
                reader.push(at_hash, FieldReason::NotTogether { with });
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    let slow_start = reader.zero_or_within(spec.slow_start, SHORTEST..=HOUR, at.key("slowStart"));
    let locality = match spec.locality {
        None => Locality::default(),
        Some("prefer-zone") => Locality::PreferZone,
        Some("prefer-node") => Locality::PreferNode,
        Some(other) => {
            reader.not_one_of(other, "prefer-zone, prefer-node", at.key("locality"));
            return None;
        }
    };
    Some(LoadBalancer {
        algorithm: algorithm?,
        hash_on: hash_on.flatten(),
        slow_start: slow_start.unwrap_or(Duration::ZERO),
        locality,
    })
}

fn algorithm(reader: &mut Reader<'_>, word: Option<&str>, at: Path<'_>) -> Option<Algorithm> {
    Some(match word {
        None | Some("ewma") => Algorithm::Ewma,
        Some("least-request") => Algorithm::LeastRequest,
        Some("round-robin") => Algorithm::RoundRobin,
        Some("random") => Algorithm::Random,
        Some("ring-hash") => Algorithm::RingHash,
        Some("maglev") => Algorithm::Maglev,
        Some(other) => {
            reader.not_one_of(other, ALGORITHMS, at);
            return None;
        }
    })
}

fn hash_on(reader: &mut Reader<'_>, spec: &HashSpec<'_>, at: Path<'_>) -> Option<HashOn> {
    match (spec.header, spec.cookie, spec.source) {
        (Some(name), None, None) => reader
            .header_name(name, at.key("header"))
            .map(HashOn::Header),
        // The names of cookies are tokens, as those of headers are (RFC 6265 §4.1.1).
        (None, Some(name), None) => reader
            .header_name(name, at.key("cookie"))
            .map(|_| HashOn::Cookie(reader.strings.get(name))),
        (None, None, Some("address")) => Some(HashOn::Source),
        (None, None, Some(other)) => {
            reader.not_one_of(other, "address", at.key("source"));
            None
        }
        _ => {
            let of = "header, cookie, source";
            reader.push(at, FieldReason::ExactlyOne { of });
            None
        }
    }
}
