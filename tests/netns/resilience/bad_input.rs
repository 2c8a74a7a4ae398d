//! Policies that are wrong, and policies that contradict each other.

use serde_json::{Value, json};
use weir_tests::{Agent, eventually, manifests};

use super::{SOON, Shop, no_retries, tally};
use crate::http::{ask, outcome};

const REJECTED: &str = "weir_config_rejected_objects";

/// Answers 418 to everybody: that this policy is in force is easily seen.
fn marked() -> Value {
    json!({"fault": {"abort": {"percent": 100, "status": 418}}})
}

#[track_caller]
fn expect_rejected(agent: &Agent, wanted: u32) {
    eventually(&format!("{wanted} objects are rejected"), SOON, || {
        let rejected = agent.metric(REJECTED, &[]);
        (rejected == f64::from(wanted))
            .then_some(())
            .ok_or(rejected)
    });
}

#[test]
fn a_wrong_policy_is_named_and_its_last_good_version_stays() {
    let shop = Shop::of(1);
    let web = shop.service("web", marked());
    shop.mesh.start_agents();
    let agent = shop.mesh.agent_of(&shop.far);

    let wrong = [
        (
            json!({"timeouts": {"request": "soon"}}),
            "spec.timeouts.request",
        ),
        (
            json!({"timeouts": {"connect": "200h"}}),
            "spec.timeouts.connect",
        ),
        (
            json!({"retries": {"attempts": 11}}),
            "spec.retries.attempts",
        ),
        (
            json!({"retries": {"on": ["gateway-error", "bad-luck"]}}),
            "spec.retries.on[1]",
        ),
        (
            json!({"retries": {"backoff": {"base": "1s", "max": "10ms"}}}),
            "spec.retries.backoff.base",
        ),
        (
            json!({"timeouts": {"request": "1s"}, "retries": {"perTryTimeout": "2s"}}),
            "spec.retries.perTryTimeout",
        ),
        (
            json!({"retries": {"budget": {"percent": 101}}}),
            "spec.retries.budget.percent",
        ),
        (
            json!({"retries": {"bufferBytes": "1Gi"}}),
            "spec.retries.bufferBytes",
        ),
        (json!({"connections": {"max": 0}}), "spec.connections.max"),
        (
            json!({"circuitBreaker": {"errorPercent": 0}}),
            "spec.circuitBreaker.errorPercent",
        ),
        (
            json!({"circuitBreaker": {"openFor": "10s", "maxOpenFor": "5s"}}),
            "spec.circuitBreaker.openFor",
        ),
        (
            json!({"fallback": {"maxBytes": "1Mi"}}),
            "spec.fallback.staleIfError",
        ),
        (
            json!({"loadBalancer": {"algorithm": "ring-hash"}}),
            "spec.loadBalancer.hashOn",
        ),
        (
            json!({"loadBalancer": {"algorithm": "maglev", "hashOn": {"header": "a", "cookie": "b"}}}),
            "spec.loadBalancer.hashOn",
        ),
        (
            json!({"healthCheck": {"path": "/", "tcp": true}}),
            "spec.healthCheck",
        ),
        (
            json!({"healthCheck": {"tcp": true, "interval": "1ms"}}),
            "spec.healthCheck.interval",
        ),
        (
            json!({"rateLimit": [{"requests": 1}, {"requests": 0}]}),
            "spec.rateLimit[1].requests",
        ),
        (
            json!({"concurrency": {"adaptive": {}}}),
            "spec.concurrency.adaptive",
        ),
        (json!({"hedge": {"after": "10ms"}}), "spec.hedge"),
        (
            json!({"fault": {"abort": {"percent": 200, "status": 500}}}),
            "spec.fault.abort.percent",
        ),
        (
            json!({"fault": {"abort": {"percent": 1, "status": 99}}}),
            "spec.fault.abort.status",
        ),
        (
            json!({"fault": {"delay": {"percent": 1}}}),
            "spec.fault.delay.duration",
        ),
    ];
    for (spec, field) in wrong {
        let before = agent.log().matches(field).count();
        shop.policy("web", &spec);
        eventually(field, SOON, || {
            let log = agent.log();
            (log.matches(field).count() > before)
                .then_some(())
                .ok_or(log)
        });
        assert_eq!(
            outcome(&ask(&shop.far, &web, "GET /").send()),
            "418 fault_injected",
            "{field}"
        );
        // Mended by what it was, so that the next one is news again.
        shop.policy("web", &marked());
        expect_rejected(&agent, 0);
    }
    // Good again in another way.
    shop.policy("web", &json!({"timeouts": {"request": "1s"}}));
    ask(&shop.far, &web, "GET /").until("the new version", |answer| answer.is_from("v1"));
}

/// Nothing is half applied: one field is wrong, none of the others counts.
#[test]
fn a_wrong_policy_that_was_never_good_does_nothing() {
    let shop = Shop::of(1);
    let mut spec = marked();
    spec["retries"] = json!({"attempts": -1});
    let web = shop.service("web", spec);
    let target = manifests::rule("web", "only");
    // What counts for a service as a whole is nothing that a rule can say; targets are needed, and known.
    let per_service =
        manifests::traffic_policy("shop", "rule", target, &json!({"circuitBreaker": {}}));
    let kind = json!({"group": "apps", "kind": "Deployment", "name": "web"});
    let deployment = manifests::traffic_policy("shop", "kind", kind, &json!({}));
    shop.mesh.apply(&per_service);
    shop.mesh.apply(&deployment);
    shop.mesh.start_agents();

    let agent = shop.mesh.agent_of(&shop.far);
    expect_rejected(&agent, 3);
    let log = agent.log();
    for field in [
        "spec.retries.attempts",
        "spec.circuitBreaker",
        "spec.targetRefs[0].kind",
    ] {
        assert!(log.contains(field), "{field} is not in {log}");
    }
    assert!(ask(&shop.far, &web, "GET /").send().is_from("v1"));
    // The operator's own tool says the same, before it is applied.
    let folder = shop.mesh.manifests().dir().display().to_string();
    let run = shop.mesh.weir("n1", &["validate", &folder]).run();
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        !run.ok() && said.contains("spec.retries.attempts"),
        "{said}"
    );
}

fn of_age(name: &str, created: &str, spec: &Value) -> Value {
    let mut policy = manifests::traffic_policy("shop", name, manifests::parent("web"), spec);
    policy["metadata"]["creationTimestamp"] = json!(created);
    policy
}

#[test]
fn of_two_policies_the_older_one_counts_and_the_other_is_told() {
    let shop = Shop::of(1);
    let web = shop.without_policy("web", &[&shop.pods[0]]);
    let abort = |status: u16| json!({"fault": {"abort": {"percent": 100, "status": status}}});
    // Neither the name nor the order of the files decides.
    let old = of_age("web-z", "2024-01-01T00:00:00Z", &abort(418));
    let new = of_age("web-a", "2024-01-02T00:00:00Z", &abort(429));
    shop.mesh.apply(&old);
    shop.mesh.apply(&new);
    shop.mesh.start_agents();

    for client in shop.clients() {
        let seen = tally(&ask(client, &web, "GET /").times(10).send_all());
        assert_eq!(seen["418 fault_injected"], 10, "{seen:?}");
    }
    let agent = shop.mesh.agent_of(&shop.far);
    eventually("the other one is told", SOON, || {
        let log = agent.log();
        let told = log
            .lines()
            .any(|line| line.contains("web-a") && line.contains("web-z"));
        told.then_some(()).ok_or(log)
    });
    // Not field by field either: the younger one has no say at all.
    shop.mesh.apply(&of_age(
        "web-z",
        "2024-01-01T00:00:00Z",
        &json!({"retries": no_retries()}),
    ));
    ask(&shop.far, &web, "GET /").until("no fault", |answer| answer.is_from("v1"));
    // With the older one gone it is the other's turn.
    shop.mesh.delete(&old);
    ask(&shop.far, &web, "GET /").until("the younger one", |answer| answer.status == 429);
}
