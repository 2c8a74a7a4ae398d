//! Where a request can go: backends with their shares, and how each endpoint is reached.

use std::{net::SocketAddr, sync::Arc};

use http::uri::PathAndQuery;
use serde::Serialize;

use super::{client, filters, question::Question};
use crate::{
    model::{
        names::ObjectName,
        protocol::Protocol,
        route::{BackendRef, ResolvedRule, RouteEntry},
        service::{Endpoint, EndpointSet, ServiceState},
        snapshot::Snapshot,
    },
    traffic::{
        affinity,
        backend::{self, Resolved, Unresolved},
        matching, rewrite, way,
        way::Way,
    },
};

/// Endpoints of one backend that are told one by one.
pub const ENDPOINTS_SHOWN_MAX: usize = 32;

/// A backend of the taken rule, or what was dialled.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendPlan {
    /// Into the rule's backends.
    #[serde(skip)]
    pub(super) index: Option<usize>,
    /// `namespace/service:port`, or an address.
    pub to: String,
    /// Of the backendRef; absent where no rule is taken.
    pub weight: Option<u32>,
    pub percent: f64,
    /// The client's session is with it.
    pub session: bool,
    /// Why it gets nothing.
    pub why_not: Option<String>,
    /// Path, query and host as the app receives them, where a rewrite changes them.
    pub rewritten: Option<String>,
    /// What its own filters do, beside the rule's.
    pub filters: Vec<String>,
    /// HTTP/2 is spoken to it whatever the client speaks.
    pub http2: bool,
    /// Endpoints that may be dialled: those of the family that was dialled, if there are any; the
    /// ready ones, or while none is, those that still serve.
    pub usable: usize,
    /// Ready ones of both families.
    pub ready: usize,
    /// The first [`ENDPOINTS_SHOWN_MAX`] of those that may be dialled.
    pub endpoints: Vec<EndpointPlan>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPlan {
    pub address: String,
    pub pod: Option<String>,
    pub node: Option<String>,
    /// `sameNode`, `tunnel`, `plain` or `denied`
    pub way: &'static str,
    /// What the endpoint's agent proves by TLS; within a node, what this one knows of it.
    pub identity: Option<String>,
    /// The client's session is with it.
    pub session: bool,
}

impl BackendPlan {
    /// Whether nothing of it may be dialled.
    pub(super) fn is_denied(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.iter().all(|e| e.way == DENIED)
    }

    fn to(to: String) -> Self {
        Self {
            index: None,
            to,
            weight: None,
            percent: 100.0,
            session: false,
            why_not: None,
            rewritten: None,
            filters: Vec::new(),
            http2: false,
            usable: 0,
            ready: 0,
            endpoints: Vec::new(),
        }
    }
}

const DENIED: &str = "denied";

pub(super) type Planned = (BackendPlan, Result<(), Unresolved>);

/// What the plans are made of.
pub(super) struct Backends<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) question: &'a Question,
    /// The family of the address that is dialled.
    pub(super) ipv6: bool,
}

impl Backends<'_> {
    /// Those of an HTTP rule: with sessions, and with what each receives.
    pub(super) fn of_entry(&self, entry: &RouteEntry) -> Vec<Planned> {
        let rule = entry.rule.rule();
        let session = rule.session.as_ref();
        let token = session.and_then(|session| {
            affinity::read(session, &self.question.headers, self.question.now_unix)
        });
        let mut plans = self.with_session(&entry.rule, token.as_ref());
        for (plan, _) in &mut plans {
            plan.rewritten = self.rewritten(entry, plan.index);
        }
        plans
    }

    pub(super) fn of_rule(&self, rule: &ResolvedRule) -> Vec<Planned> {
        self.with_session(rule, None)
    }

    fn with_session(&self, rule: &ResolvedRule, token: Option<&affinity::Token>) -> Vec<Planned> {
        let chosen = token.and_then(|token| affinity::backend_of(token, rule));
        let backends = rule.rule().backends.iter().enumerate();
        backends
            .map(|(index, backend)| {
                let to = match &backend.backend {
                    BackendRef::Service { name, port } => format!("{name}:{port}"),
                    BackendRef::Invalid(_) => "an invalid reference".to_owned(),
                };
                let share = |weight| match rule.weights {
                    0 => 0.0,
                    weights => 100.0 * f64::from(weight) / as_float(weights),
                };
                let mut plan = BackendPlan {
                    index: Some(index),
                    weight: Some(backend.weight),
                    percent: match chosen {
                        None => share(backend.weight),
                        Some(chosen) if chosen == index => 100.0,
                        Some(_) => 0.0,
                    },
                    session: chosen == Some(index),
                    filters: filters::of_backend(rule, index),
                    ..BackendPlan::to(to)
                };
                let resolved = backend::of_rule(self.snapshot, rule, index);
                let reached = self.reach(&mut plan, resolved);
                if plan.session {
                    self.pin(&mut plan, token, rule);
                }
                (plan, reached)
            })
            .collect()
    }

    /// The service's own endpoints.
    pub(super) fn of_dialled(
        &self,
        name: &ObjectName,
        resolved: Result<Resolved<'_>, Unresolved>,
    ) -> Planned {
        let mut plan = BackendPlan::to(format!("{name}:{}", self.question.to.port));
        let reached = self.reach(&mut plan, resolved);
        (plan, reached)
    }

    pub(super) fn of_addresses(&self, to: String, set: &EndpointSet) -> BackendPlan {
        let mut plan = BackendPlan::to(to);
        self.show(&mut plan, set);
        plan
    }

    /// The session's endpoint comes first, if it may be dialled.
    fn pin(&self, plan: &mut BackendPlan, token: Option<&affinity::Token>, rule: &ResolvedRule) {
        let resolved = plan
            .index
            .and_then(|index| backend::of_rule(self.snapshot, rule, index).ok());
        let pinned = token.zip(resolved).and_then(|(token, resolved)| {
            affinity::endpoint_of(token, &resolved.endpoints.endpoints)
        });
        let Some(pinned) = pinned else { return };
        let pinned = EndpointPlan {
            session: true,
            ..self.endpoint(pinned)
        };
        plan.endpoints
            .retain(|other| other.address != pinned.address);
        plan.endpoints.insert(0, pinned);
        plan.endpoints.truncate(ENDPOINTS_SHOWN_MAX);
    }

    fn reach(
        &self,
        plan: &mut BackendPlan,
        resolved: Result<Resolved<'_>, Unresolved>,
    ) -> Result<(), Unresolved> {
        match resolved {
            Ok(resolved) => {
                plan.http2 = Protocol::of(resolved.port).wants_http2();
                self.show(plan, resolved.endpoints);
                Ok(())
            }
            Err(error) => {
                plan.why_not = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn show(&self, plan: &mut BackendPlan, set: &EndpointSet) {
        let usable = set.usable(self.ipv6);
        plan.usable = usable.len();
        plan.ready = set.ready;
        let shown = usable.iter().take(ENDPOINTS_SHOWN_MAX);
        plan.endpoints = shown.map(|endpoint| self.endpoint(*endpoint)).collect();
    }

    fn endpoint(&self, endpoint: Endpoint) -> EndpointPlan {
        let workload = self.snapshot.workload_by_ip(endpoint.address);
        let workload = workload.map(Arc::as_ref);
        let client = client::workload(self.snapshot, &self.question.from);
        let way = way::to(workload, endpoint.port, || {
            let here = workload?.tunnelled() && workload?.pod.node == client?.pod.node;
            here.then_some(())
        });
        EndpointPlan {
            address: SocketAddr::new(endpoint.address, endpoint.port).to_string(),
            pod: workload.map(|workload| workload.pod.name.to_string()),
            node: workload.map(|workload| workload.pod.node.to_string()),
            way: match way {
                Way::Denied => DENIED,
                Way::SameNode(()) => "sameNode",
                Way::Tunnel => "tunnel",
                Way::Plain => "plain",
            },
            identity: workload
                .filter(|_| matches!(way, Way::SameNode(()) | Way::Tunnel))
                .map(|workload| workload.identity.to_string()),
            session: false,
        }
    }

    /// As `Exchange::modify`: the rule's rewrite, then the backend's.
    fn rewritten(&self, entry: &RouteEntry, backend: Option<usize>) -> Option<String> {
        let rule = entry.rule.rule();
        let of_backend = backend.and_then(|index| rule.backends.get(index));
        let of_backend = of_backend.and_then(|backend| backend.filters.rewrite.as_ref());
        let mut path = self.question.to.path_and_query.as_str().to_owned();
        let mut host = self.question.authority().to_owned();
        for rewrite in [rule.filters.rewrite.as_ref(), of_backend]
            .into_iter()
            .flatten()
        {
            if let Some(modifier) = &rewrite.path {
                let prefix = matching::matched_prefix(entry);
                let new = rewrite::path_and_query(modifier, &path, prefix);
                // One that comes to no valid target changes nothing.
                if PathAndQuery::try_from(new.as_str()).is_ok() {
                    path = new;
                }
            }
            if let Some(hostname) = &rewrite.hostname {
                host = hostname.to_string();
            }
        }
        let was = (
            self.question.to.path_and_query.as_str(),
            self.question.authority(),
        );
        (was != (path.as_str(), host.as_str())).then(|| format!("{path} of {host}"))
    }
}

/// Weights are below 2^20, and rules have few backends.
#[allow(
    clippy::cast_precision_loss,
    reason = "a sum of weights is far below 2^53"
)]
fn as_float(weights: u64) -> f64 {
    weights as f64
}

/// The pods' own addresses: clients dial the port themselves.
pub(super) fn headless(service: &ServiceState, port: u16) -> EndpointSet {
    let mut addresses: Vec<_> = service
        .endpoints
        .iter()
        // What DNS answers with.
        .flat_map(|set| set.endpoints.get(..set.ready).unwrap_or_default())
        .map(|endpoint| endpoint.address)
        .collect();
    // IPv4 first, as in every set.
    addresses.sort();
    addresses.dedup();
    EndpointSet {
        ready: addresses.len(),
        endpoints: addresses
            .into_iter()
            .map(|address| Endpoint { address, port })
            .collect(),
        ..EndpointSet::default()
    }
}
