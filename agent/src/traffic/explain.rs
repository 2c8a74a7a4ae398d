//! What would become of a request: the way that the kernel, the agent and its pipeline
//! (`proxy/l7/pipeline.rs`) would take it, told step by step.
//!
//! Every decision is made by the function that decides on real traffic; where chance would, all
//! that can come of it are told, each with its share.

mod backends;
mod client;
mod destination;
mod filters;
mod outcome;
mod question;
mod routing;
mod spoken;
mod text;

use std::sync::Arc;

use http::{StatusCode, header};
use serde::Serialize;

use self::{
    backends::Backends,
    destination::Destination,
    outcome::{Refusal, of_unresolved, reset},
    spoken::Taken,
};
pub use self::{
    backends::{BackendPlan, ENDPOINTS_SHOWN_MAX, EndpointPlan},
    client::ClientPlan,
    destination::DestinationPlan,
    outcome::{Outcome, Share},
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
    service::EndpointSet,
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
            destination: destination::describe(&destination, question.to.port),
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

/// A question and what is found out about it.
struct Asking<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    explanation: Explanation,
    grpc: bool,
    /// The family of the address that is dialled.
    ipv6: bool,
}

impl Asking<'_> {
    fn run(&mut self, destination: &Destination) {
        let (protocol, said) = match destination {
            Destination::Service(service) => spoken::declared(service, self.question.to.port),
            _ => (
                Protocol::Unknown,
                "nothing is said of a pod's own address".to_owned(),
            ),
        };
        let (taken, spoken) = spoken::taken(self.question, protocol);
        self.explanation.spoken = Some(format!("{spoken}; {said}"));
        match taken {
            Taken::Http => self.http(destination),
            Taken::Opaque(tls) => self.connection(destination, tls.as_ref()),
            Taken::Broken => self.refuse(Refusal::BadRequest, "no HTTP, which was announced"),
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
        self.go_to_backends(entry);
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

    fn go_to_backends(&mut self, entry: &RouteEntry) {
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
                let set = backends::headless(service, port);
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

fn no_backend(rule: &ResolvedRule) -> String {
    format!(
        "rule {} of {} has no backend",
        rule.rule_label, rule.route_label
    )
}

#[cfg(test)]
mod tests;
