//! A → B → C: what C's end does to those who ask it, and to what they do beside that.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{HttpLoad, Mesh, Pod, Proc, Request, ServiceHandle, eventually, manifests};

use super::{SOON, never_opens};

/// Threads of A and B: as many requests each can be at.
const WORKERS: u32 = 8;
/// Of calls down the chain, and of A's own.
const PER_SECOND: u32 = 50;
/// What a request may take that does not need C.
const QUICK: Duration = Duration::from_millis(250);

/// `a` on `n1`, `b` on `n2`, `c` on `n1`, each with a service of its name, and a client.
struct Chain {
    client: Pod,
    a: Pod,
    c: Pod,
    apps: [Proc; 3],
    services: [ServiceHandle; 3],
    mesh: Mesh,
}

impl Chain {
    /// `policy`: of C, which B's node keeps.
    fn new(policy: Option<Value>) -> Self {
        let mesh = Mesh::new(2);
        let client = mesh.pod("client", "n2").enrolled();
        let pods = [("a", "n1"), ("b", "n2"), ("c", "n1")]
            .map(|(name, node)| mesh.pod(name, node).enrolled());
        let apps = pods.each_ref().map(|pod| pod.http(8080));
        for app in &apps[..2] {
            app.order(&format!("capacity {WORKERS}"));
        }
        let services = pods
            .each_ref()
            .map(|pod| mesh.http_service(pod.name(), &[pod]));
        if let Some(policy) = policy {
            let target = manifests::parent("c");
            mesh.apply(&manifests::traffic_policy("shop", "c", target, &policy));
        }
        let [a, _, c] = pods;
        mesh.start_agents();
        Self {
            client,
            a,
            c,
            apps,
            services,
            mesh,
        }
    }

    /// A asks B, which asks C.
    fn down(&self) -> Request<'_> {
        let [a, b, c] = &self.services;
        let next = format!("{},{}", b.v4, c.v4);
        self.client.request(a.v4, "/").header("x-call", &next)
    }

    fn load(&self, down: bool) -> HttpLoad {
        let [a, b, c] = &self.services;
        let next = format!("x-call:{},{}", b.v4, c.v4);
        let flags: &[&str] = if down { &["--header", &next] } else { &[] };
        self.client.http_load_with(flags, a.v4, PER_SECOND)
    }

    /// With C as it now is, A answers what needs C soon, with a failure, and what does not as ever.
    #[track_caller]
    fn fails_fast(&self) {
        let down = self.load(true);
        let beside = self.load(false);
        // Some find out what is the matter.
        self.down().until("A fails fast", |answer| {
            answer.status >= 500 && answer.took < QUICK
        });
        let before = beside.report();
        beside.wait_for_more(u64::from(PER_SECOND) * 2);
        let after = beside.stop();
        let served = after.answers("200") - before.answers("200");
        assert!(served >= u64::from(PER_SECOND) * 2, "{after:?}");
        assert!(after.is_all_well(), "{after:?}");
        for _ in 0..10 {
            let answer = self.down().send();
            assert!(answer.status >= 500 && answer.took < QUICK, "{answer:?}");
        }
        let down = down.stop();
        assert_eq!(down.number("failed"), 0, "{down:?}");
        // A was never out of threads for long.
        assert!(after.took("p99") < Duration::from_secs(1), "{after:?}");
    }

    #[track_caller]
    fn is_well(&self) {
        self.down()
            .until("the chain is whole", |answer| answer.is_from("a"));
    }
}

/// Patience with C that ends before A and B have nobody left.
fn policy_of_c() -> Value {
    json!({
        "timeouts": {"connect": "100ms", "request": "200ms"},
        "circuitBreaker": {"consecutiveErrors": 5, "openFor": "3s"},
    })
}

#[test]
fn a_hanging_service_does_not_take_its_callers_along() {
    let chain = Chain::new(Some(policy_of_c()));
    chain.is_well();
    chain.apps[2].order("answer hang");
    chain.fails_fast();
    // Asked by hardly anybody: the breaker's few, and its probes.
    let asked = chain.apps[2].counted("requests");
    assert!(asked <= 40, "{asked}");
    chain.apps[2].order("answer");
    chain.is_well();
}

#[test]
fn a_vanished_service_does_not_take_its_callers_along() {
    let chain = Chain::new(Some(policy_of_c()));
    chain.is_well();
    chain.c.vanish();
    chain.fails_fast();
    chain.c.come_back();
    chain.is_well();
    chain
        .mesh
        .expect_requests(&chain.client, &chain.a, 200, &[], 1);
}

/// A process that is gone is refused at once: for that nobody has to say anything.
#[test]
fn a_dead_service_does_not_take_its_callers_along() {
    let mut chain = Chain::new(None);
    chain.is_well();
    // In its place one that nobody asks.
    chain.apps[2] = chain.c.http(9999);
    chain.fails_fast();
    let back = chain.c.http(8080);
    chain.is_well();
    assert!(back.counted("requests") >= 1);
}

/// It is the policy that does it: without patience that ends, A is lost with C.
#[test]
fn without_a_limit_the_callers_are_lost() {
    let chain = Chain::new(Some(json!({"circuitBreaker": never_opens()})));
    chain.is_well();
    chain.apps[2].order("answer hang");
    let down = chain.load(true);
    eventually("all threads wait", SOON, || {
        let waiting = chain.apps[2].counted("most");
        (waiting >= u64::from(WORKERS)).then_some(()).ok_or(waiting)
    });
    let beside = chain.client.request(chain.services[0].v4, "/");
    let answer = beside.flags(&["--max-time", "1"]).send();
    assert_eq!(answer.status, 0, "{answer:?}");
    drop(down);
}
