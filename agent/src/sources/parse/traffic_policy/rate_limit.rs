//! `rateLimit[]`.

use std::time::Duration;

use serde::Deserialize;

use super::values::{COUNT_MAX, HOUR, SHORTEST};
use crate::{
    model::traffic_policy::{RateLimit, RateLimitBy},
    sources::parse::{field::FieldReason, path::Path, route::Reader},
};

const LIMITS_MAX: usize = 16;
const PER: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec<'a> {
    /// Or connections, of what is no HTTP: 1 to 1,000,000. Required.
    requests: Option<i64>,
    /// 1ms to 1h. Default 1s.
    per: Option<&'a str>,
    /// What may come at once: 1 to 1,000,000. Default: `requests`.
    burst: Option<i64>,
    /// Whom the limit is for, each. Default: all together.
    #[serde(borrow)]
    by: Option<By<'a>>,
}

/// Exactly one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct By<'a> {
    /// `identity`: the caller's.
    source: Option<&'a str>,
    /// The name of a header.
    header: Option<&'a str>,
}

pub(super) fn parse(
    reader: &mut Reader<'_>,
    specs: Option<Vec<Spec<'_>>>,
    at: Path<'_>,
) -> Vec<RateLimit> {
    let specs = reader.items(specs, LIMITS_MAX, at);
    let limits = specs.iter().enumerate();
    limits
        .filter_map(|(index, spec)| limit(reader, spec, at.index(index)))
        .collect()
}

fn limit(reader: &mut Reader<'_>, spec: &Spec<'_>, at: Path<'_>) -> Option<RateLimit> {
    let at_requests = at.key("requests");
    let requests = reader.count(spec.requests, 1..=COUNT_MAX, at_requests);
    let requests = reader.required((spec.requests, requests), at_requests);
    let per = reader.within(spec.per, SHORTEST..=HOUR, at.key("per"));
    let burst = reader.count(spec.burst, 1..=COUNT_MAX, at.key("burst"));
    let by = match &spec.by {
        None => Some(RateLimitBy::All),
        Some(spec) => by(reader, spec, at.key("by")),
    };
    Some(RateLimit {
        requests: requests?,
        per: per.unwrap_or(PER),
        burst: burst.or(requests)?,
        by: by?,
    })
}

fn by(reader: &mut Reader<'_>, spec: &By<'_>, at: Path<'_>) -> Option<RateLimitBy> {
    match (spec.source, spec.header) {
        (Some("identity"), None) => Some(RateLimitBy::Identity),
        (Some(other), None) => {
            reader.not_one_of(other, "identity", at.key("source"));
            None
        }
        (None, Some(name)) => reader
            .header_name(name, at.key("header"))
            .map(RateLimitBy::Header),
        _ => {
            let of = "source, header";
            reader.push(at, FieldReason::ExactlyOne { of });
            None
        }
    }
}
