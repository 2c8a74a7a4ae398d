//! HTTP at the node: routing, filters, semantics, limits.
//!
//! Where the Gateway API's mesh conformance suite (v1.7) has a scenario of the kind, a test names
//! it: the behaviour is the specification's, the words and programs are ours.

mod balance;
mod conformance;
mod cors;
mod detection;
mod explain_and_tap;
mod foreign_peer;
mod grpc;
pub(crate) mod guides;
mod header_modifiers;
mod hostile;
mod limits;
mod matching;
mod mirror;
mod redirect;
mod references;
mod rewrite;
mod semantics;
mod session;
mod smuggling;
mod split;
mod telemetry;
mod timeouts;
mod upgrades;

use serde_json::{Value, json};
use weir_tests::{
    Answer, Mesh, Pod, Proc, Request, ServiceHandle,
    manifests::{self, backend, parent},
};

/// Two versions of an application on `n2`, each behind a service of its own, and a client on
/// either side of the wire: what holds for one holds for both.
struct Shop {
    /// On `n1`.
    far: Pod,
    /// On `n2`, where the applications are.
    near: Pod,
    v1: Pod,
    v2: Pod,
    apps: [Proc; 2],
    mesh: Mesh,
}

impl Shop {
    fn new() -> Self {
        let mesh = Mesh::new(2);
        let far = mesh.pod("far", "n1").enrolled();
        let near = mesh.pod("near", "n2").enrolled();
        let v1 = mesh.pod("v1", "n2").enrolled();
        let v2 = mesh.pod("v2", "n2").enrolled();
        let apps = [v1.http(8080), v2.http(8080)];
        mesh.http_service("v1", &[&v1]);
        mesh.http_service("v2", &[&v2]);
        Self {
            far,
            near,
            v1,
            v2,
            apps,
            mesh,
        }
    }

    fn clients(&self) -> [&Pod; 2] {
        [&self.far, &self.near]
    }

    /// A service with both versions behind it.
    fn service(&self, name: &str) -> ServiceHandle {
        self.mesh.http_service(name, &[&self.v1, &self.v2])
    }

    /// A service with both versions behind it and an HTTPRoute of its name.
    fn routed(&self, name: &str, rules: Value) -> ServiceHandle {
        let service = self.service(name);
        self.route(name, rules);
        service
    }

    /// The service's route, new or changed.
    fn route(&self, service: &str, rules: Value) {
        self.mesh.apply(&manifests::http_route(
            "shop",
            service,
            parent(service),
            rules,
        ));
    }

    /// What both clients get, case by case: `GET /path name:value …` in, and out the version that
    /// answered, or Weir's status and reason: `404 no_route`.
    #[track_caller]
    fn expect(&self, service: &ServiceHandle, cases: &[(&str, &str)]) {
        for client in self.clients() {
            let seen: Vec<_> = cases
                .iter()
                .map(|(line, _)| (*line, outcome(&ask(client, service, line).send())))
                .collect();
            let wanted: Vec<_> = cases
                .iter()
                .map(|(line, wanted)| (*line, (*wanted).to_owned()))
                .collect();
            assert_eq!(seen, wanted, "from {}", client.name());
        }
    }
}

/// `GET /path name:value …`
pub(crate) fn ask<'a>(client: &'a Pod, service: &ServiceHandle, line: &str) -> Request<'a> {
    let mut words = line.split(' ');
    let method = words.next().unwrap_or("GET");
    let request = client.request(service.v4, words.next().unwrap_or("/"));
    let request = match method {
        "GET" => request,
        method => request.method(method),
    };
    words.fold(request, |request, word| {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        request.header(name, value)
    })
}

/// Who answered: a pod, or Weir itself and why.
pub(crate) fn outcome(answer: &Answer) -> String {
    match (answer.status, answer.reason()) {
        (200, None) => answer.server(),
        (status, Some(reason)) => format!("{status} {reason}"),
        (status, None) => format!("{status} of the application"),
    }
}

/// All of a rule's traffic.
fn to(service: &str) -> Value {
    json!([backend(service)])
}

/// One rule without a match.
fn all_to(service: &str) -> Value {
    json!([{"backendRefs": to(service)}])
}

/// A header of the request as the application saw it, with several values joined.
pub(crate) fn seen(answer: &Answer, header: &str) -> Option<String> {
    let report = answer.report();
    let values = report["headers"][header].as_array()?;
    let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
    Some(texts.join(","))
}
