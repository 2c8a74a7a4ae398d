//! `TrafficPolicy` of `weir.dev`: each stanza has its file below this one.

mod circuit_breaker;
mod concurrency;
mod connections;
mod fallback;
mod fault;
mod grpc_status;
mod health_check;
mod load_balancer;
mod rate_limit;
mod retries;
mod targets;
mod timeouts;
mod values;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

pub(super) use self::retries::RouteRetry;
use super::{
    field::{Errors, FieldReason},
    path::Path,
    route::{self, Reader},
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    traffic_policy::{Policy, PolicyTarget, TrafficPolicy},
};

/// On a rule only `timeouts.request`, `retries`, `fallback` and `fault` may be set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    target_refs: Option<Vec<targets::Spec<'a>>>,
    #[serde(borrow)]
    timeouts: Option<timeouts::Spec<'a>>,
    #[serde(borrow)]
    retries: Option<retries::Spec<'a>>,
    connections: Option<connections::Spec>,
    /// Default: a breaker acts, but the last closed endpoint of a service stays closed.
    #[serde(borrow)]
    circuit_breaker: Option<circuit_breaker::Spec<'a>>,
    /// Default: off.
    #[serde(borrow)]
    fallback: Option<fallback::Spec<'a>>,
    #[serde(borrow)]
    load_balancer: Option<load_balancer::Spec<'a>>,
    /// Default: off.
    #[serde(borrow)]
    health_check: Option<health_check::Spec<'a>>,
    /// At the destination, every one of them; at most 16. Default: none.
    #[serde(borrow)]
    rate_limit: Option<Vec<rate_limit::Spec<'a>>>,
    /// Default: off.
    concurrency: Option<concurrency::Spec>,
    /// Default: off.
    #[serde(borrow)]
    fault: Option<fault::Spec<'a>>,
    /// This version has none.
    hedge: Option<IgnoredAny>,
}

pub(super) fn parse(
    value: &Value,
    name: ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<TrafficPolicy> {
    let (created, spec): (_, Spec<'_>) = route::object(value, errors)?;
    let mut reader = Reader {
        name: &name,
        strings,
        errors,
    };
    let at = Path::root("spec");
    if spec.hedge.is_some() {
        reader.push(at.key("hedge"), FieldReason::NotYet);
    }
    // Looked at before `policy` takes the spec apart.
    let per_service = per_service(&spec);
    let (targets, policy) = policy(&mut reader, spec, at);
    if targets
        .iter()
        .any(|target| matches!(target, PolicyTarget::Rule { .. }))
    {
        let at_timeouts = at.key("timeouts");
        for (stanza, field) in per_service {
            let at = match stanza {
                Stanza::Timeouts => at_timeouts.key(field),
                Stanza::Spec => at.key(field),
            };
            reader.push(at, FieldReason::PerService);
        }
    }
    Some(TrafficPolicy {
        targets,
        policy: policy.into(),
        created,
        name,
    })
}

fn policy(reader: &mut Reader<'_>, spec: Spec<'_>, at: Path<'_>) -> (Vec<PolicyTarget>, Policy) {
    let targets = targets::parse(reader, spec.target_refs, at.key("targetRefs"));
    let timeouts = timeouts::parse(
        reader,
        &spec.timeouts.unwrap_or_default(),
        at.key("timeouts"),
    );
    let policy = Policy {
        retries: retries::parse(
            reader,
            spec.retries.unwrap_or_default(),
            timeouts.request,
            at.key("retries"),
        ),
        connections: connections::parse(
            reader,
            &spec.connections.unwrap_or_default(),
            at.key("connections"),
        ),
        circuit_breaker: spec
            .circuit_breaker
            .map(|spec| circuit_breaker::parse(reader, spec, at.key("circuitBreaker"))),
        fallback: spec
            .fallback
            .and_then(|spec| fallback::parse(reader, spec, at.key("fallback"))),
        load_balancer: spec
            .load_balancer
            .and_then(|spec| load_balancer::parse(reader, &spec, at.key("loadBalancer"))),
        health_check: spec
            .health_check
            .and_then(|spec| health_check::parse(reader, &spec, at.key("healthCheck"))),
        rate_limits: rate_limit::parse(reader, spec.rate_limit, at.key("rateLimit")),
        concurrency: spec
            .concurrency
            .and_then(|spec| concurrency::parse(reader, &spec, at.key("concurrency"))),
        fault: fault::parse(reader, spec.fault.unwrap_or_default(), at.key("fault")),
        timeouts,
    };
    (targets, policy)
}

enum Stanza {
    Spec,
    Timeouts,
}

/// What is said that counts for a service as a whole.
fn per_service(spec: &Spec<'_>) -> Vec<(Stanza, &'static str)> {
    let timeouts = spec.timeouts.as_ref();
    let said = [
        (
            Stanza::Timeouts,
            "connect",
            timeouts.is_some_and(|timeouts| timeouts.connect.is_some()),
        ),
        (
            Stanza::Timeouts,
            "idle",
            timeouts.is_some_and(|timeouts| timeouts.idle.is_some()),
        ),
        (Stanza::Spec, "connections", spec.connections.is_some()),
        (
            Stanza::Spec,
            "circuitBreaker",
            spec.circuit_breaker.is_some(),
        ),
        (Stanza::Spec, "loadBalancer", spec.load_balancer.is_some()),
        (Stanza::Spec, "healthCheck", spec.health_check.is_some()),
        (Stanza::Spec, "rateLimit", spec.rate_limit.is_some()),
        (Stanza::Spec, "concurrency", spec.concurrency.is_some()),
    ];
    said.into_iter()
        .filter(|(_, _, said)| *said)
        .map(|(stanza, field, _)| (stanza, field))
        .collect()
}
