//! What would become of a request: the way that the kernel, the agent and its pipeline
//! (`proxy/l7/pipeline.rs`) would take it, told step by step.
//!
//! Every decision is made by the function that decides on real traffic; where chance would, all
//! that can come of it are told, each with its share.

mod backends;
mod client;
mod destination;
mod filters;
mod question;
mod routing;
mod text;

use std::sync::Arc;

use http::{StatusCode, header};
use serde::Serialize;

use self::{
    backends::Backends,
    destination::{Destination, Outside},
};
pub use self::{
    backends::{BackendPlan, ENDPOINTS_SHOWN_MAX, EndpointPlan},
    client::ClientPlan,
    question::{Client, HEADERS_MAX, Question, QuestionError, Speaks, Target},
    routing::{Entry, Routing, Verdict},
};
use super::{
    backend, cors, hop, matching, normalize, redirect,
    request::{RequestView, is_grpc},
};
use crate::model::{
    names::ObjectName,
    protocol::Protocol,
    route::{Redirect, ResolvedRule, RouteEntry, Scheme},
    service::{EndpointSet, ServiceState},
    snapshot::Snapshot,
};

/// What would happen, in order. As JSON: this, with names in camel case.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `GET http://web/cart`
    pub request: String,
    pub client: ClientPlan,
    pub destination: DestinationPlan,
    /// What the agent takes the connection for; absent where it does not see it.
    pub spoken: Option<String>,
    /// The routes that were asked; absent where none is.
    pub routing: Option<Routing>,
    /// What the taken rule does to the request and its answer.
    pub filters: Vec<String>,
    pub backends: Vec<BackendPlan>,
    /// What can come of it.
    pub outcomes: Vec<Share>,
}

/// What the host of the URL is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationPlan {
    pub service: Option<String>,
    pub pod: Option<String>,
    /// In a sentence.
    pub is: String,
}

/// One of the ends that a request can have, and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    pub percent: f64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Outcome {
    /// The mesh has no part in it.
    LeftAlone { why: String },
    /// To an endpoint of it.
    Sent { to: String },
    /// Weir answers itself, and all is well.
    #[serde(rename_all = "camelCase")]
    Answered {
        status: u16,
        why: String,
        /// Of a redirect.
        location: Option<String>,
    },
    /// Weir refuses an HTTP request.
    #[serde(rename_all = "camelCase")]
    Refused {
        status: u16,
        /// Of a gRPC call, whose HTTP status is 200.
        grpc_status: Option<u16>,
        /// `x-weir-reason`
        reason: &'static str,
        why: String,
    },
    /// Weir resets the connection.
    Reset { reason: &'static str, why: String },
}

/// The reasons of `telemetry::Reason` that a request can be refused for before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    NoRoute,
    BackendNotFound,
    NoHealthyEndpoint,
    NoSuchPort,
    PolicyDenied,
}

impl Refusal {
    #[cfg(test)]
    const ALL: [Self; 6] = [
        Self::BadRequest,
        Self::NoRoute,
        Self::BackendNotFound,
        Self::NoHealthyEndpoint,
        Self::NoSuchPort,
        Self::PolicyDenied,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoRoute => "no_route",
            Self::BackendNotFound => "backend_not_found",
            Self::NoHealthyEndpoint => "no_healthy_endpoint",
            Self::NoSuchPort => "no_such_port",
            Self::PolicyDenied => "policy_denied",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoRoute | Self::NoSuchPort => StatusCode::NOT_FOUND,
            Self::BackendNotFound => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoHealthyEndpoint => StatusCode::SERVICE_UNAVAILABLE,
            Self::PolicyDenied => StatusCode::FORBIDDEN,
        }
    }

    fn grpc_status(self) -> u16 {
        match self {
            Self::BadRequest => 13,
            Self::NoRoute | Self::NoSuchPort => 12,
            Self::BackendNotFound | Self::NoHealthyEndpoint => 14,
            Self::PolicyDenied => 7,
        }
    }
}

/// What would become of what `question` describes.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Explanation {
    let mut question = question.clone();
    // As semantics::check and peer::strip do before anything is decided.
    hop::strip(&mut question.headers);
    question.headers.remove(header::FORWARDED);
    let question = &question;

    let client = ClientPlan::of(snapshot, &question.from);
    let destination = destination::find(snapshot, &question.to, &question.from.namespace);
    let mut asking = Asking {
        snapshot,
        question,
        explanation: Explanation {
            request: request_line(question),
            destination: describe(&destination, question.to.port),
            client,
            spoken: None,
            routing: None,
            filters: Vec::new(),
            backends: Vec::new(),
            outcomes: Vec::new(),
        },
        grpc: is_grpc(&question.headers),
        ipv6: client::dials_ipv6(snapshot, &question.from, &destination, &question.to.host),
    };
    if let Some(why) = client::left_alone(snapshot, question, &destination) {
        asking.certainly(Outcome::LeftAlone { why });
    } else {
        asking.run(&destination);
    }
    asking.explanation
}

fn request_line(question: &Question) -> String {
    let Target {
        speaks,
        authority,
        path_and_query,
        ..
    } = &question.to;
    match speaks {
        Speaks::Http => format!("{} http://{authority}{path_and_query}", question.method),
        Speaks::Tls => format!("https://{authority}"),
        Speaks::Bytes => format!("tcp://{authority}"),
    }
}

fn describe(destination: &Destination, port: u16) -> DestinationPlan {
    let none = DestinationPlan {
        service: None,
        pod: None,
        is: String::new(),
    };
    match destination {
        Destination::Service(service) => {
            let vips = &service.service.vips;
            let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
            let name = &service.service.name;
            DestinationPlan {
                service: Some(name.to_string()),
                is: format!("service {name} ({}), port {port}", vips.join(", ")),
                ..none
            }
        }
        Destination::Headless(service) => {
            let name = &service.service.name;
            DestinationPlan {
                service: Some(name.to_string()),
                is: format!(
                    "service {name}, headless: its name stands for its pods' own addresses, to which no route applies"
                ),
                ..none
            }
        }
        Destination::Pod(address, workload) => {
            let name = &workload.pod.name;
            DestinationPlan {
                pod: Some(name.to_string()),
                is: format!("pod {name}, by its own address {address}: no route applies"),
                ..none
            }
        }
        Destination::Outside(outside) => DestinationPlan {
            is: match outside {
                Outside::Address(ip) => format!("{ip} belongs to no service and no captured pod"),
                Outside::Pod(name) => format!("pod {name}, which is not enrolled"),
                Outside::NoSuchService(name) => format!("there is no service {name}"),
                Outside::Name => "no name of a service of the cluster".to_owned(),
            },
            ..none
        },
    }
}

/// A question and what is found out about it.
struct Asking<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    explanation: Explanation,
    grpc: bool,
    /// The family of the address that is dialled.
    ipv6: bool,
}

/// What an agent takes a connection for (`proxy/l4/outbound.rs`, `Arrival::first`).
enum Taken {
    Http,
    /// Opaque bytes; of TLS, the name that it asks for, if it is looked at.
    Opaque(Option<Option<String>>),
    /// HTTP was announced, and something else came.
    Broken,
}

impl Asking<'_> {
    fn run(&mut self, destination: &Destination) {
        let (protocol, said) = match destination {
            Destination::Service(service) => declared(service, self.question.to.port),
            _ => (
                Protocol::Unknown,
                "nothing is said of a pod's own address".to_owned(),
            ),
        };
        let (taken, spoken) = self.taken(protocol);
        self.explanation.spoken = Some(format!("{spoken}; {said}"));
        match taken {
            Taken::Http => self.http(destination),
            Taken::Opaque(tls) => self.connection(destination, tls.as_ref()),
            Taken::Broken => self.refuse(Refusal::BadRequest, "no HTTP, which was announced"),
        }
    }

    fn taken(&self, protocol: Protocol) -> (Taken, &'static str) {
        match (protocol, self.question.to.speaks) {
            (Protocol::Tcp, _) => (Taken::Opaque(None), "opaque bytes, whatever they are"),
            (_, Speaks::Http) => (Taken::Http, "HTTP"),
            (_, Speaks::Tls) => (
                Taken::Opaque(Some(self.question.sni().map(str::to_owned))),
                "TLS of the client's own, passed through",
            ),
            (protocol, Speaks::Bytes) if protocol.is_http() => (Taken::Broken, "broken HTTP"),
            (_, Speaks::Bytes) => (Taken::Opaque(None), "opaque bytes"),
        }
    }

    /// The phases of `Exchange::run`.
    fn http(&mut self, destination: &Destination) {
        let Destination::Service(service) = destination else {
            return self.own_addresses(destination);
        };
        let (snapshot, port) = (self.snapshot, self.question.to.port);
        let name = &service.service.name;
        let namespace = &self.question.from.namespace;
        let Some(table) = matching::http_table(snapshot, name, port, namespace) else {
            return self.own_endpoints(name);
        };
        let path_and_query = &self.question.to.path_and_query;
        let path = match normalize::path(path_and_query.path()) {
            Ok(path) => path,
            Err(error) => return self.refuse(Refusal::BadRequest, &error.to_string()),
        };
        let view = RequestView {
            path: &path,
            query: path_and_query.query(),
            method: &self.question.method,
            headers: &self.question.headers,
            grpc: self.grpc,
        };
        let taken = matching::find(table, &view);
        let routes = snapshot.routes(name);
        let routing = Routing::http(routes.map(Arc::as_ref), table, &view, taken);
        self.explanation.routing = Some(routing);
        match taken {
            Some(entry) => self.take(entry, &view),
            None => {
                let why = format!("no route of {name} matches the request");
                self.refuse(Refusal::NoRoute, &why);
            }
        }
    }

    fn take(&mut self, entry: &RouteEntry, view: &RequestView<'_>) {
        let rule = entry.rule.rule();
        self.explanation.filters = filters::of_rule(&entry.rule);
        if let Some(cors) = &rule.filters.cors
            && cors::preflight(cors, view).is_some()
        {
            return self.certainly(Outcome::Answered {
                status: StatusCode::OK.as_u16(),
                why: "a CORS preflight".to_owned(),
                location: None,
            });
        }
        if let Some(redirect) = &rule.filters.redirect {
            let outcome = self.redirected(redirect, matching::matched_prefix(entry));
            return self.certainly(outcome);
        }
        self.to_backends(entry);
    }

    fn redirected(&self, redirect: &Redirect, prefix: Option<&str>) -> Outcome {
        let origin = redirect::Origin {
            scheme: Scheme::Http,
            authority: self.question.authority(),
            port: self.question.to.port,
        };
        let path_and_query = self.question.to.path_and_query.as_str();
        Outcome::Answered {
            status: redirect.status.as_u16(),
            why: "a redirect".to_owned(),
            location: Some(redirect::location(
                redirect,
                &origin,
                path_and_query,
                prefix,
            )),
        }
    }

    fn to_backends(&mut self, entry: &RouteEntry) {
        let backends = self.backends();
        let plans = backends.of_entry(entry);
        if plans.iter().all(|(plan, _)| plan.percent == 0.0) {
            return self.refuse(Refusal::BackendNotFound, &no_backend(&entry.rule));
        }
        for (plan, reached) in plans {
            let redirect = plan.index.and_then(|index| {
                let backend = entry.rule.rule().backends.get(index)?;
                backend.filters.redirect.as_ref()
            });
            let outcome = match (reached, redirect) {
                (Err(error), _) => self.refused(of_unresolved(&error), &error.to_string()),
                (Ok(()), Some(redirect)) => {
                    self.redirected(redirect, matching::matched_prefix(entry))
                }
                (Ok(()), None) => self.sent(&plan),
            };
            self.add(plan, outcome);
        }
    }

    /// Without routes a service's requests go to its own endpoints.
    fn own_endpoints(&mut self, name: &ObjectName) {
        let resolved = backend::of_service(self.snapshot, name, self.question.to.port);
        let (plan, reached) = self.backends().of_dialled(name, resolved);
        let outcome = match reached {
            Ok(()) => self.sent(&plan),
            Err(error) => {
                let refusal = match error {
                    backend::Unresolved::NoEndpoint(_) => Refusal::NoHealthyEndpoint,
                    _ => Refusal::NoSuchPort,
                };
                self.refused(refusal, &error.to_string())
            }
        };
        self.add(plan, outcome);
    }

    /// A pod's, or those that a headless service's name stands for.
    fn own_addresses(&mut self, destination: &Destination) {
        let port = self.question.to.port;
        let plan = match destination {
            Destination::Pod(address, _) => {
                let set = EndpointSet::of_address(*address);
                self.backends().of_addresses(address.to_string(), &set)
            }
            Destination::Headless(service) => {
                let set = headless(service, port);
                let title = format!("{}:{port}", service.service.name);
                self.backends().of_addresses(title, &set)
            }
            Destination::Service(_) | Destination::Outside(_) => return,
        };
        if plan.usable == 0 {
            let why = format!(
                "{} has no endpoint, so that its name has no address",
                plan.to
            );
            return self.certainly(Outcome::LeftAlone { why });
        }
        let outcome = self.sent(&plan);
        self.add(plan, outcome);
    }

    /// As `candidates` of `proxy/l4/outbound.rs`.
    fn connection(&mut self, destination: &Destination, tls: Option<&Option<String>>) {
        let Destination::Service(service) = destination else {
            return self.own_addresses(destination);
        };
        let (snapshot, port) = (self.snapshot, self.question.to.port);
        let name = &service.service.name;
        let routes = snapshot.routes(name);
        let table = routes.and_then(|routes| routes.table(port, &self.question.from.namespace));
        let tls = tls.map(Option::as_deref);
        let rule = match table.map(|table| matching::rule_of_connection(table, tls)) {
            None => None,
            Some(Ok(rule)) => rule,
            Some(Err(error)) => {
                let table = table.map_or(&[][..], |table| &table.tls);
                let routing = Routing::tls(table, tls.flatten(), None);
                self.explanation.routing = Some(routing);
                return self.reset(Refusal::NoRoute, error.to_string());
            }
        };
        let Some((rule, table)) = rule.zip(table) else {
            let resolved = backend::of_service(snapshot, name, port);
            let (plan, reached) = self.backends().of_dialled(name, resolved);
            return self.connected(plan, reached);
        };
        self.explanation.routing = Some(match tls {
            Some(sni) if !table.tls.is_empty() => Routing::tls(&table.tls, sni, Some(rule)),
            _ => Routing::tcp(rule),
        });
        let plans = self.backends().of_rule(rule);
        if plans.iter().all(|(plan, _)| plan.percent == 0.0) {
            return self.reset(Refusal::BackendNotFound, no_backend(rule));
        }
        for (plan, reached) in plans {
            self.connected(plan, reached);
        }
    }

    fn connected(&mut self, plan: BackendPlan, reached: Result<(), backend::Unresolved>) {
        let outcome = match reached {
            Ok(()) if plan.is_denied() => reset(Refusal::PolicyDenied, DENIED.to_owned()),
            Ok(()) => Outcome::Sent {
                to: plan.to.clone(),
            },
            Err(error) => {
                let refusal = match error {
                    backend::Unresolved::NoPort { .. } => Refusal::NoSuchPort,
                    ref other => of_unresolved(other),
                };
                reset(refusal, error.to_string())
            }
        };
        self.add(plan, outcome);
    }

    fn backends(&self) -> Backends<'_> {
        Backends {
            snapshot: self.snapshot,
            question: self.question,
            ipv6: self.ipv6,
        }
    }

    fn add(&mut self, plan: BackendPlan, outcome: Outcome) {
        if plan.percent > 0.0 {
            self.explanation.outcomes.push(Share {
                percent: plan.percent,
                outcome,
            });
        }
        self.explanation.backends.push(plan);
    }

    fn sent(&self, plan: &BackendPlan) -> Outcome {
        if plan.is_denied() {
            return self.refused(Refusal::PolicyDenied, DENIED);
        }
        Outcome::Sent {
            to: plan.to.clone(),
        }
    }

    fn certainly(&mut self, outcome: Outcome) {
        self.explanation.outcomes = vec![Share {
            percent: 100.0,
            outcome,
        }];
    }

    fn refuse(&mut self, refusal: Refusal, why: &str) {
        let outcome = self.refused(refusal, why);
        self.certainly(outcome);
    }

    fn refused(&self, refusal: Refusal, why: &str) -> Outcome {
        let status = match self.grpc {
            true => StatusCode::OK,
            false => refusal.status(),
        };
        Outcome::Refused {
            status: status.as_u16(),
            grpc_status: self.grpc.then(|| refusal.grpc_status()),
            reason: refusal.as_str(),
            why: why.to_owned(),
        }
    }

    fn reset(&mut self, refusal: Refusal, why: String) {
        self.certainly(reset(refusal, why));
    }
}

const DENIED: &str = "port 15008 of a captured pod is its agent's";

fn reset(refusal: Refusal, why: String) -> Outcome {
    Outcome::Reset {
        reason: refusal.as_str(),
        why,
    }
}

fn of_unresolved(error: &backend::Unresolved) -> Refusal {
    match error {
        backend::Unresolved::NoEndpoint(_) => Refusal::NoHealthyEndpoint,
        backend::Unresolved::Refused(_)
        | backend::Unresolved::NoService(_)
        | backend::Unresolved::NoPort { .. } => Refusal::BackendNotFound,
    }
}

fn no_backend(rule: &ResolvedRule) -> String {
    format!(
        "rule {} of {} has no backend",
        rule.rule_label, rule.route_label
    )
}

/// What the Service says of the protocol of its port, and how.
fn declared(service: &ServiceState, port: u16) -> (Protocol, String) {
    let name = &service.service.name;
    let Some((service_port, _)) = service.endpoints_of_port(port) else {
        return (Protocol::Tcp, format!("service {name} has no port {port}"));
    };
    let protocol = Protocol::of(service_port);
    let says = match protocol {
        Protocol::Unknown => return (protocol, said_nothing(&service_port.name)),
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP/2",
        Protocol::Grpc => "gRPC",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "opaque bytes",
    };
    let by = match &service_port.app_protocol {
        Some(said) => format!("appProtocol {said}"),
        None => format!("the port's name {}", service_port.name),
    };
    (protocol, format!("{by} says {says}"))
}

fn said_nothing(port: &str) -> String {
    let named = match port {
        "" => "no name".to_owned(),
        name => format!("the name {name}"),
    };
    format!("the port has no appProtocol and {named}: the first bytes decide")
}

/// The pods' own addresses: clients dial the port themselves.
fn headless(service: &ServiceState, port: u16) -> EndpointSet {
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
            .map(|address| crate::model::service::Endpoint { address, port })
            .collect(),
        ..EndpointSet::default()
    }
}

#[cfg(test)]
mod tests;
