//! TrafficPolicy: what keeps a service alive when its parts fail.
//!
//! What a policy does is seen by the clients' answers and by what the applications counted; agents'
//! metrics and the access log must say the same. Where a feature could hide another (a breaker a
//! retry, a retry a fault), the policy turns the other one off.

mod bad_input;
mod balancing;
mod breaker;
mod chain;
mod concurrency;
mod fallback;
mod faults;
mod guides;
mod health_checks;
mod locality;
mod pool_limits;
mod rate_limit;
mod retries;
mod retry_budget;
mod rollouts;
mod timeouts;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use weir_tests::{Agent, Answer, Mesh, Pod, Proc, ServiceHandle, eventually, manifests};

use crate::http::{ask, outcome};

/// How much later than its time a timer may show on a busy machine.
const SLACK: Duration = Duration::from_millis(500);
/// By when something that takes no time of its own has happened.
const SOON: Duration = Duration::from_secs(5);

/// Endpoints `v1`, `v2`, … on `n2` with an application each, a client on either side of the wire.
struct Shop {
    /// On `n1`.
    far: Pod,
    /// On `n2`, where the applications are.
    near: Pod,
    pods: Vec<Pod>,
    apps: Vec<Proc>,
    protocol: &'static str,
    mesh: Mesh,
}

impl Shop {
    fn of(endpoints: usize) -> Self {
        Self::speaking("http", endpoints, |pod| pod.http(8080))
    }

    fn of_grpc(endpoints: usize) -> Self {
        Self::speaking("grpc", endpoints, |pod| pod.grpc(8080))
    }

    /// Applications of opaque bytes.
    fn of_echo(endpoints: usize) -> Self {
        Self::speaking("tcp", endpoints, |pod| pod.serve("echo", 8080))
    }

    fn speaking(protocol: &'static str, endpoints: usize, start: impl Fn(&Pod) -> Proc) -> Self {
        let mesh = Mesh::new(2);
        let far = mesh.pod("far", "n1").enrolled();
        let near = mesh.pod("near", "n2").enrolled();
        let pods: Vec<_> = (1..=endpoints)
            .map(|number| mesh.pod(&format!("v{number}"), "n2").enrolled())
            .collect();
        let apps = pods.iter().map(start).collect();
        Self {
            far,
            near,
            pods,
            apps,
            protocol,
            mesh,
        }
    }

    fn clients(&self) -> [&Pod; 2] {
        [&self.far, &self.near]
    }

    /// A service with all endpoints behind it, and a policy of its name.
    fn service(&self, name: &str, policy: Value) -> ServiceHandle {
        let pods: Vec<_> = self.pods.iter().collect();
        self.service_of(name, &pods, policy)
    }

    fn service_of(&self, name: &str, pods: &[&Pod], policy: Value) -> ServiceHandle {
        self.policy(name, &policy);
        self.without_policy(name, pods)
    }

    fn without_policy(&self, name: &str, pods: &[&Pod]) -> ServiceHandle {
        let service = self.mesh.new_service(name);
        service.port(80, 8080, self.protocol).of(pods)
    }

    /// The service's policy, new or changed.
    fn policy(&self, service: &str, spec: &Value) {
        let target = manifests::parent(service);
        let policy = manifests::traffic_policy("shop", service, target, spec);
        self.mesh.apply(&policy);
    }

    /// Requests that each of the applications has had since [`Shop::forget`].
    fn counts(&self) -> Vec<u64> {
        self.apps
            .iter()
            .map(|app| app.counted("requests"))
            .collect()
    }

    fn forget(&self) {
        for app in &self.apps {
            app.order("forget");
        }
    }

    /// The same order for all applications.
    fn order(&self, order: &str) {
        for app in &self.apps {
            app.order(order);
        }
    }

    /// So many `GET /` in a row.
    #[track_caller]
    fn many(&self, client: &Pod, service: &ServiceHandle, count: usize) -> Vec<Answer> {
        ask(client, service, "GET /").times(count).send_all()
    }
}

/// A breaker that stays closed.
fn never_opens() -> Value {
    json!({"consecutiveErrors": 0})
}

fn no_retries() -> Value {
    json!({"attempts": 0})
}

/// How many answers of each kind: a pod's name, or the status and Weir's reason.
fn tally(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(outcome(answer)).or_default() += 1;
    }
    tally
}

/// All answers were 200.
#[track_caller]
fn assert_all_well(answers: &[Answer]) {
    let bad = answers.iter().find(|answer| answer.status != 200);
    assert!(bad.is_none(), "{:?}: {bad:?}", tally(answers));
}

/// Waits until the agent has counted at least so much.
#[track_caller]
fn expect_metric(agent: &Agent, name: &str, labels: &[(&str, &str)], at_least: u64) {
    eventually(&format!("{name}{labels:?}"), SOON, || {
        let metrics = agent.metrics();
        let enough = metrics.sum(name, labels) >= at_least as f64;
        enough
            .then_some(())
            .ok_or_else(|| format!("{:?}", metrics.starting_with(name)))
    });
}
