//! Where a captured connection goes, and getting there.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::HeaderMap;

use super::endpoint::{self, Attempt, Failure, Upstream};
use crate::{
    model::{
        service::{Endpoint, EndpointSet, ServiceState},
        snapshot::Snapshot,
    },
    proxy::{
        l7::{balance::InFlight, retry::is_endpoints_fault},
        pods::LocalPod,
        services::{self, Inside, Trial, Unfit, View},
        worker::Worker,
    },
    telemetry::{ConnectionRecord, PoolLimit, Reason},
    traffic::{
        backend::{self, Unresolved},
        balance::hash_key,
        breaker, matching, split,
    },
    transport::limits::CONNECT_TIMEOUT,
};

/// Endpoints that are tried before the application hears of a failure.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// What decides where a connection goes.
pub(super) struct Wanted<'a> {
    pub(super) dialled: SocketAddr,
    pub(super) client_namespace: &'a str,
    /// It begins with a ClientHello, which names a host or none.
    pub(super) tls: Option<Option<&'a str>>,
    pub(super) random: u64,
}

/// Where a connection can go.
pub(super) enum Destination {
    /// To one of these, of a service or of the backend that a TCPRoute or TLSRoute chooses.
    Service(Arc<View>, Arc<EndpointSet>),
    /// To the address that was dialled, perhaps a pod's of a headless service with a policy.
    Address(Endpoint, Option<Arc<View>>),
}

impl Destination {
    pub(super) fn view(&self) -> Option<&Arc<View>> {
        match self {
            Self::Service(view, _) => Some(view),
            Self::Address(_, view) => view.as_ref(),
        }
    }
}

pub(super) fn destination(
    worker: &Worker,
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
    record: &mut ConnectionRecord,
) -> Result<Destination, Failure> {
    let dialled = wanted.dialled;
    let Some(service) = snapshot.service_by_vip(dialled.ip()) else {
        let headless = snapshot.headless_with_policy(dialled.ip());
        let endpoint = Endpoint {
            address: dialled.ip(),
            port: dialled.port(),
        };
        let view = headless.map(|service| worker.views.of(snapshot, service));
        return Ok(Destination::Address(endpoint, view));
    };
    record.info_mut().service = Some(Arc::clone(service));
    let table = snapshot
        .routes(&service.service.name)
        .and_then(|routes| routes.table(dialled.port(), wanted.client_namespace));
    let rule = match table {
        None => None,
        Some(table) => matching::rule_of_connection(table, wanted.tls)
            .map_err(|error| Failure::new(Reason::NoRoute, error.to_string()))?,
    };
    let resolved = match rule {
        None => backend::of_service(snapshot, &service.service.name, dialled.port()),
        Some(rule) => {
            let index = split::pick(rule, wanted.random).ok_or_else(|| {
                let detail = format!("{} has no backend", rule.route_label);
                Failure::new(Reason::BackendNotFound, detail)
            })?;
            backend::of_rule(snapshot, rule, index)
        }
    };
    // A failure is the backend's as well, where there is such a service.
    let service = match &resolved {
        Ok(resolved) => Some(resolved.service),
        Err(error) => error.service().and_then(|name| snapshot.service(name)),
    };
    if let Some(service) = service {
        record.info_mut().service = Some(Arc::clone(service));
    }
    let resolved = resolved?;
    let view = worker.views.of(snapshot, resolved.service);
    Ok(Destination::Service(view, Arc::clone(resolved.endpoints)))
}

impl From<Unresolved> for Failure {
    fn from(error: Unresolved) -> Self {
        let reason = match error {
            Unresolved::NoEndpoint(_) => Reason::NoHealthyEndpoint,
            Unresolved::NoPort { .. } => Reason::NoSuchPort,
            Unresolved::Refused(_) | Unresolved::NoService(_) => Reason::BackendNotFound,
        };
        Self::new(reason, error.to_string())
    }
}

/// What a connection counts as, as long as it is open.
pub(super) struct Counted {
    /// One of the connections to its service.
    _bound: Option<Inside>,
    /// One that its endpoint has, for least-request.
    _load: InFlight,
}

/// The first endpoint that stands. No byte of the application has been read yet, so that trying
/// another is always safe.
pub(super) async fn connect(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    destination: &Destination,
    record: &mut ConnectionRecord,
) -> Result<(Upstream, Counted), Failure> {
    let bound = match destination.view() {
        Some(view) => admit(view)?,
        None => None,
    };
    if let Some(view) = destination.view() {
        view.live.used.by(pod.id, view.hub.now());
    }
    let timeout = destination.view().map(|view| view.connect_timeout());
    let mut tried = Vec::new();
    let mut last = None;
    while tried.len() < ENDPOINTS_TRIED_MAX {
        let (endpoint, trial) = match choose(worker, destination, &tried, record) {
            Ok(chosen) => chosen,
            Err(none) => return Err(last.unwrap_or(none)),
        };
        tried.push(endpoint);
        let attempt = Attempt {
            worker,
            source: pod,
            client: record.info().source_address,
            dialled: record.info().original_destination,
            service: record.info().service.clone(),
            endpoint,
            timeout: timeout.unwrap_or(CONNECT_TIMEOUT),
        };
        let mut load = worker.balancer.begin(endpoint);
        let outcome = endpoint::connect(&attempt).await;
        load.answered();
        let info = record.info_mut();
        info.destination_address = SocketAddr::new(endpoint.address, endpoint.port);
        info.destination.clone_from(&outcome.destination);
        info.destination_principal = match &outcome.upstream {
            Ok(Upstream::Plain(_)) | Err(_) => None,
            Ok(_) => outcome
                .destination
                .as_ref()
                .map(|workload| workload.identity.clone()),
        };
        match outcome.upstream {
            Ok(upstream) => {
                if let Some(trial) = trial {
                    trial.ended(breaker::Outcome::Success);
                }
                let counted = Counted {
                    _bound: bound,
                    _load: load,
                };
                return Ok((upstream, counted));
            }
            Err(failure) => {
                if let Some(trial) = trial.filter(|_| is_endpoints_fault(failure.reason)) {
                    trial.ended(breaker::Outcome::Error);
                }
                last = Some(failure);
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::new(Reason::NoHealthyEndpoint, "there is none")))
}

/// `connections.max`, where a policy names it: without one a service has as many as it likes.
fn admit(view: &Arc<View>) -> Result<Option<Inside>, Failure> {
    let Some(max) = view.policy.connections.max else {
        return Ok(None);
    };
    let inside = view.live.connections.try_enter(max);
    inside.map(Some).ok_or_else(|| {
        view.hub.metrics.pool_overflow(PoolLimit::Connections);
        let name = &view.service.service.name;
        Failure::new(Reason::PoolFull, format!("{max} connections to {name}"))
    })
}

fn choose(
    worker: &Worker,
    destination: &Destination,
    tried: &[Endpoint],
    record: &ConnectionRecord,
) -> Result<(Endpoint, Option<Trial>), Failure> {
    let tripped = || Failure::new(Reason::BreakerOpen, "every endpoint failed too often");
    match destination {
        Destination::Address(_, _) if !tried.is_empty() => {
            Err(Failure::new(Reason::NoHealthyEndpoint, "there is none"))
        }
        Destination::Address(endpoint, None) => Ok((*endpoint, None)),
        Destination::Address(endpoint, Some(view)) => view
            .try_endpoint(*endpoint)
            .map(|trial| (*endpoint, trial))
            .map_err(|_open| tripped()),
        Destination::Service(view, set) => {
            let info = record.info();
            let no_headers = HeaderMap::new();
            let source = info.source_address.ip();
            let wanted = services::Wanted {
                ipv6: info.original_destination.is_ipv6(),
                tried,
                hash: view
                    .hash_on()
                    .and_then(|hash_on| hash_key::of(hash_on, &no_headers, source)),
                connection: true,
            };
            let chosen = view.choose(set, &worker.balancer, &wanted);
            chosen
                .map(|(endpoint, trial)| (endpoint, Some(trial)))
                .map_err(|unfit| match unfit {
                    Unfit::Tripped { .. } => tripped(),
                    Unfit::None | Unfit::AllTried => {
                        Failure::new(Reason::NoHealthyEndpoint, "there is none")
                    }
                })
        }
    }
}

/// A health check that is a connection.
pub(in crate::proxy) async fn check(
    worker: &Rc<Worker>,
    pod: &Rc<LocalPod>,
    service: &Arc<ServiceState>,
    endpoint: Endpoint,
    timeout: Duration,
) -> bool {
    let to = SocketAddr::new(endpoint.address, endpoint.port);
    let workload = pod.workload();
    let own = workload
        .pod
        .ips
        .iter()
        .find(|ip| ip.is_ipv6() == to.is_ipv6());
    let Some(own) = own else { return false };
    let attempt = Attempt {
        worker,
        source: pod,
        client: SocketAddr::new(*own, 0),
        dialled: to,
        service: Some(Arc::clone(service)),
        endpoint,
        timeout,
    };
    match endpoint::connect(&attempt).await.upstream {
        Ok(Upstream::Local(local)) => {
            local.record.finish(Reason::Ok, None);
            true
        }
        Ok(Upstream::Tunnel(_) | Upstream::Plain(_)) => true,
        Err(_) => false,
    }
}
