mod agreement;
mod hosts;
mod questions;
mod routes;

use std::{sync::Arc, time::Instant};

use super::{Explanation, Outcome, Question, Refusal, Verdict, explain};
use crate::model::{
    fold::{
        Fold,
        tests::build::{Build, endpoint, pod, service, slice},
    },
    pod::{MeshLabel, Namespace, Pod},
    resource::{Change, Delta},
    snapshot::Snapshot,
};

const READY: (bool, bool, bool) = (true, true, false);

/// The namespace `shop`, enrolled: the client `cart-1` on n1; the service `web` (port 80, and no
/// protocol is said) with `web-1` on n1, `web-2` on n2 and an endpoint outside the mesh; `v1` and
/// `v2` with one pod each; `empty` without any.
struct World(Vec<Change>);

impl World {
    fn new() -> Self {
        let namespace = Namespace {
            name: "shop".into(),
            mesh: Some(MeshLabel::Enabled),
        };
        let of = |service: &str, addresses: &[&str]| {
            let endpoints = addresses.iter().map(|address| endpoint(address, READY));
            slice(&format!("shop/{service}-x"), service, endpoints).upsert()
        };
        Self(vec![
            namespace.upsert(),
            on("n1", pod("shop/cart-1", "10.0.0.1")).upsert(),
            on("n1", pod("shop/web-1", "10.0.1.1")).upsert(),
            on("n2", pod("shop/web-2", "10.0.1.2")).upsert(),
            on("n2", pod("shop/v1-1", "10.0.2.1")).upsert(),
            on("n2", pod("shop/v2-1", "10.0.2.2")).upsert(),
            service("shop/web", "10.96.0.1").upsert(),
            service("shop/v1", "10.96.0.2").upsert(),
            service("shop/v2", "10.96.0.3").upsert(),
            service("shop/empty", "10.96.0.4").upsert(),
            of("web", &["10.0.1.1", "10.0.1.2", "192.0.2.1"]),
            of("v1", &["10.0.2.1"]),
            of("v2", &["10.0.2.2"]),
        ])
    }

    fn with(mut self, object: impl Build) -> Self {
        self.0.push(object.upsert());
        self
    }

    fn snapshot(self) -> Arc<Snapshot> {
        let delta = Delta {
            changes: self.0,
            ..Delta::default()
        };
        Fold::new("cluster.local", "n1").apply(delta, Instant::now())
    }

    /// `GET` by `shop/cart-1`.
    fn get(self, url: &str) -> Explanation {
        self.ask("shop/cart-1", url, "GET", &[])
    }

    fn ask(self, from: &str, url: &str, method: &str, headers: &[&str]) -> Explanation {
        let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        let question = Question::new(from, url, Some(method), &headers, NOW).unwrap();
        explain(&self.snapshot(), &question)
    }
}

const NOW: u64 = 1_000_000;

fn on(node: &str, pod: Pod) -> Pod {
    Pod {
        node: node.into(),
        ..pod
    }
}

/// The only outcome.
fn outcome(explanation: &Explanation) -> &Outcome {
    assert_eq!(explanation.outcomes.len(), 1, "{explanation}");
    assert_eq!(explanation.outcomes[0].percent, 100.0, "{explanation}");
    &explanation.outcomes[0].outcome
}

fn sent_to(explanation: &Explanation) -> &str {
    match outcome(explanation) {
        Outcome::Sent { to } => to,
        other => panic!("{other:?}\n{explanation}"),
    }
}

/// Status, reason and why.
fn refused(explanation: &Explanation) -> (u16, &str, &str) {
    match outcome(explanation) {
        Outcome::Refused {
            status,
            reason,
            why,
            ..
        } => (*status, reason, why),
        other => panic!("{other:?}\n{explanation}"),
    }
}

fn reset(explanation: &Explanation) -> (&str, &str) {
    match outcome(explanation) {
        Outcome::Reset { reason, why } => (reason, why),
        other => panic!("{other:?}\n{explanation}"),
    }
}

fn left_alone(explanation: &Explanation) -> &str {
    assert!(explanation.backends.is_empty() && explanation.routing.is_none());
    match outcome(explanation) {
        Outcome::LeftAlone { why } => why,
        other => panic!("{other:?}\n{explanation}"),
    }
}

/// Route, rule and why not, in the order asked.
fn asked(explanation: &Explanation) -> Vec<(&str, &str, Verdict, Option<&str>)> {
    let routing = explanation.routing.as_ref().unwrap();
    let entries = routing.entries.iter();
    entries
        .map(|entry| {
            let why_not = entry.why_not.as_deref();
            (&*entry.route, &*entry.rule, entry.verdict, why_not)
        })
        .collect()
}

/// The reasons' words and statuses are telemetry's, which this module may not import.
#[test]
fn refusals_are_those_of_the_data_plane() {
    for refusal in Refusal::ALL {
        let reason = crate::telemetry::Reason::of_name(refusal.as_str()).unwrap();
        assert_eq!(reason.http_status(), refusal.status(), "{refusal:?}");
        assert_eq!(reason.grpc_status(), refusal.grpc_status(), "{refusal:?}");
    }
}
