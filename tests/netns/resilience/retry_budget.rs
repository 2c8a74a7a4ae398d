//! `retries.budget`: retries help a service that mostly works and do not finish off one that does not.

use serde_json::json;

use super::{Shop, expect_metric, never_opens};

const PER_SECOND: u32 = 500;

#[test]
fn a_spent_budget_stops_retrying() {
    let shop = Shop::of(3);
    let web = shop.service(
        "web",
        json!({
            "retries": {"attempts": 2, "on": ["gateway-error"], "budget": {"percent": 20, "minPerSecond": 10}},
            "circuitBreaker": never_opens(),
        }),
    );
    shop.order("answer status=503");
    shop.mesh.start_agents();

    let flags = ["--count", "2000"];
    let report = shop.far.http_load_with(&flags, web.v4, PER_SECOND).stop();
    assert_eq!(report.answers("503"), 2000, "{report:?}");
    let asked: u64 = shop.counts().iter().sum();
    let factor = asked as f64 / report.answers("503") as f64;
    assert!((1.1..=1.25).contains(&factor), "{factor} tries a request");
    let agent = shop.mesh.agent_of(&shop.far);
    for outcome in ["budget_exhausted", "failed"] {
        expect_metric(&agent, "weir_retries_total", &[("outcome", outcome)], 100);
    }
}

#[test]
fn no_budget_is_no_retry() {
    let shop = Shop::of(2);
    let web = shop.service(
        "web",
        json!({
            "retries": {"attempts": 2, "on": ["gateway-error"], "budget": {"percent": 0, "minPerSecond": 0}},
            "circuitBreaker": never_opens(),
        }),
    );
    shop.order("answer status=503");
    shop.mesh.start_agents();

    let answers = shop.many(&shop.far, &web, 50);
    assert!(answers.iter().all(|answer| answer.status == 503));
    assert_eq!(shop.counts().iter().sum::<u64>(), 50);
}
