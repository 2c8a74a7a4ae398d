//! `/debug/status`: how the agent and the services that it reaches are, at one look.

mod text;

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;
use thiserror::Error;

use super::{Admin, PodCounts, Readiness, explain::Output};
use crate::{
    model::status::{EndpointStatus, ServiceStatus, TRANSITIONS_KEPT_MAX, TransitionStatus},
    traffic::form,
};

/// Share of a limit from which its service is worth a look.
const PRESSING_PERCENT: u64 = 80;

const CLOSED: &str = "closed";

#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Of services and endpoints that are well, too.
    all: bool,
    pub(super) output: Output,
}

/// Why the query asks nothing.
#[derive(Debug, Error)]
pub(super) enum QueryError {
    #[error("all is true or false, not {0:?}")]
    All(String),
    #[error("output is json or text, not {0:?}")]
    Output(String),
    #[error("there is no parameter {0:?}: they are all and output")]
    Unknown(String),
}

impl Asked {
    /// Of `all` and `output`.
    pub(super) fn read(query: &str) -> Result<Self, QueryError> {
        let mut asked = Self {
            all: false,
            output: Output::Json,
        };
        for (name, value) in form::pairs(query) {
            match name.as_str() {
                "all" => asked.all = value.parse().map_err(|_| QueryError::All(value))?,
                "output" => {
                    asked.output = match value.as_str() {
                        "json" => Output::Json,
                        "text" => Output::Text,
                        _ => return Err(QueryError::Output(value)),
                    }
                }
                _ => return Err(QueryError::Unknown(name)),
            }
        }
        Ok(asked)
    }
}

/// As JSON: this, with names in camel case and durations in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: &'static str,
    ready: bool,
    /// Why not.
    missing: Vec<String>,
    generation: u64,
    rejected: usize,
    pods: PodCounts,
    breakers: Breakers,
    /// Of which `services` shows those that were asked for.
    services_known: usize,
    services: Vec<Service>,
    /// The latest first.
    transitions: Vec<Transition>,
}

/// Of all services' endpoints, how many are not as they should be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Breakers {
    open: usize,
    half_open: usize,
    unhealthy: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    service: String,
    endpoints: Vec<Endpoint>,
    requests: Use,
    connections: Use,
    pending: Use,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Use {
    now: u32,
    max: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    address: SocketAddr,
    breaker: &'static str,
    #[serde(rename = "sinceSeconds", serialize_with = "seconds")]
    since: Duration,
    /// Until a request may try whether it is well again. `None` unless it is open.
    #[serde(rename = "halfOpenInSeconds", serialize_with = "maybe_seconds")]
    half_open_in: Option<Duration>,
    healthy: bool,
}

#[derive(Debug, Serialize)]
struct Transition {
    #[serde(rename = "agoSeconds", serialize_with = "seconds")]
    ago: Duration,
    service: String,
    endpoint: SocketAddr,
    from: &'static str,
    to: &'static str,
}

impl Status {
    pub(super) fn read(admin: &Admin, asked: Asked) -> Self {
        let sources = &admin.sources;
        let snapshot = (sources.snapshot)();
        let missing = match (sources.readiness)() {
            Readiness::Ready => Vec::new(),
            Readiness::NotReady(missing) => missing,
        };
        let told = (sources.services)();
        let mut services: Vec<_> = told
            .services
            .iter()
            .filter(|service| asked.all || is_worth_a_look(service))
            .map(|service| Service::of(service, asked.all))
            .collect();
        services.sort_by(|one, other| one.service.cmp(&other.service));
        let mut transitions: Vec<_> = told.transitions.iter().map(Transition::of).collect();
        transitions.sort_by_key(|transition| transition.ago);
        transitions.truncate(TRANSITIONS_KEPT_MAX);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            ready: missing.is_empty(),
            missing,
            generation: snapshot.generation,
            rejected: snapshot.rejected,
            pods: (sources.pod_counts)(),
            breakers: Breakers::of(&told.services),
            services_known: told.services.len(),
            services,
            transitions,
        }
    }

    pub(super) fn write(&self, output: Output) -> Vec<u8> {
        match output {
            Output::Text => self.to_string().into_bytes(),
            Output::Json => {
                let mut body = serde_json::to_vec_pretty(self).unwrap_or_default();
                body.push(b'\n');
                body
            }
        }
    }
}

impl Breakers {
    fn of(services: &[ServiceStatus]) -> Self {
        let mut counts = Self::default();
        for endpoint in services.iter().flat_map(|service| &service.endpoints) {
            match endpoint.breaker {
                "open" => counts.open += 1,
                "half_open" => counts.half_open += 1,
                _ => {}
            }
            counts.unhealthy += usize::from(!endpoint.healthy);
        }
        counts
    }
}

impl Service {
    fn of(service: &ServiceStatus, all: bool) -> Self {
        let mut endpoints: Vec<_> = service
            .endpoints
            .iter()
            .filter(|endpoint| all || !is_well(endpoint))
            .map(Endpoint::of)
            .collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        let [requests, connections, pending] = uses(service);
        Self {
            service: service.service.to_string(),
            endpoints,
            requests,
            connections,
            pending,
        }
    }
}

impl Endpoint {
    fn of(endpoint: &EndpointStatus) -> Self {
        Self {
            address: endpoint.address,
            breaker: endpoint.breaker,
            since: endpoint.since,
            half_open_in: endpoint
                .open_for
                .map(|open_for| open_for.saturating_sub(endpoint.since)),
            healthy: endpoint.healthy,
        }
    }
}

impl Transition {
    fn of(transition: &TransitionStatus) -> Self {
        Self {
            ago: transition.ago,
            service: transition.service.to_string(),
            endpoint: transition.endpoint,
            from: transition.from,
            to: transition.to,
        }
    }
}

fn is_well(endpoint: &EndpointStatus) -> bool {
    endpoint.breaker == CLOSED && endpoint.healthy
}

fn is_worth_a_look(service: &ServiceStatus) -> bool {
    let presses = |limit: &Use| {
        limit.now > 0 && u64::from(limit.now) * 100 >= u64::from(limit.max) * PRESSING_PERCENT
    };
    !service.endpoints.iter().all(is_well) || uses(service).iter().any(presses)
}

fn uses(service: &ServiceStatus) -> [Use; 3] {
    [
        (service.requests, service.requests_max),
        (service.connections, service.connections_max),
        (service.pending, service.pending_max),
    ]
    .map(|(now, max)| Use { now, max })
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

fn maybe_seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs_f64())
        .serialize(to)
}

#[cfg(test)]
mod tests;
