//! `fault`: failures on purpose, in the share that was asked for.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{ServiceHandle, eventually};

use super::{SOON, Shop, expect_metric, never_opens, no_retries, tally};
use crate::http::{ask, outcome};

const INJECTED: &str = "weir_faults_injected_total";

fn faulty(fault: Value) -> Value {
    json!({"fault": fault, "retries": no_retries(), "circuitBreaker": never_opens()})
}

#[test]
fn a_share_is_aborted() {
    let shop = Shop::of(1);
    let some = shop.service(
        "some",
        faulty(json!({"abort": {"percent": 20, "status": 418}})),
    );
    let all = shop.service(
        "all",
        faulty(json!({"abort": {"percent": 100, "status": 503}})),
    );
    let none = shop.service(
        "none",
        faulty(json!({"abort": {"percent": 0, "status": 503}})),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        // See split.rs for the number: ±5 points are 5.6 standard deviations.
        let seen = tally(&shop.many(client, &some, 2_000));
        let aborted = seen["418 fault_injected"];
        assert!((300..=500).contains(&aborted), "{aborted} of 2,000");
        assert_eq!(seen["v1"] + aborted, 2_000, "{seen:?}");
        assert_eq!(tally(&shop.many(client, &none, 100))["v1"], 100);
        assert_eq!(
            tally(&shop.many(client, &all, 100))["503 fault_injected"],
            100
        );
        // What is aborted does not reach the application.
        assert_eq!(shop.counts(), [2_100 - aborted as u64]);
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, INJECTED, &[("kind", "abort")], aborted as u64 + 100);
        agent.expect_logged(&["fault_injected"]);
    }
}

#[test]
fn a_share_is_delayed() {
    let shop = Shop::of(1);
    let web = shop.service(
        "web",
        faulty(json!({"delay": {"percent": 20, "duration": "600ms"}})),
    );
    shop.mesh.start_agents();

    let flags = ["--count", "2000", "--slow", "590"];
    let report = shop.far.http_load_with(&flags, web.v4, 500).stop();
    assert!(report.is_all_well(), "{report:?}");
    let delayed = report.number("slow");
    assert!(
        (300..=500).contains(&delayed),
        "{delayed} of 2,000: {report:?}"
    );
    assert!(
        report.took("p50") < Duration::from_millis(300),
        "{report:?}"
    );
    let agent = shop.mesh.agent_of(&shop.far);
    expect_metric(&agent, INJECTED, &[("kind", "delay")], delayed);
}

#[test]
fn faults_are_for_requests_with_a_header() {
    let shop = Shop::of(1);
    let web = shop.service(
        "web",
        faulty(json!({
            "abort": {
                "percent": 100,
                "status": 500,
                "headers": [{"name": "x-fault", "value": "abort"}, {"name": "x-user", "type": "RegularExpression", "value": "test-.+"}],
            },
            "delay": {
                "percent": 100,
                "duration": "400ms",
                "headers": [{"name": "x-fault", "value": "delay"}],
            },
        })),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        for (line, wanted, waits) in [
            ("GET /", "v1", false),
            ("GET / x-fault:abort", "v1", false),
            ("GET / x-fault:abort x-user:test-", "v1", false),
            (
                "GET / x-fault:abort x-user:test-1",
                "500 fault_injected",
                false,
            ),
            ("GET / x-fault:delay", "v1", true),
            ("POST / x-fault:delay", "v1", true),
        ] {
            let answer = ask(client, &web, line).send();
            assert_eq!(outcome(&answer), wanted, "{line}");
            assert_eq!(
                answer.took >= Duration::from_millis(400),
                waits,
                "{line}: {answer:?}"
            );
        }
    }
}

#[test]
fn calls_are_aborted_with_their_own_status() {
    let shop = Shop::of_grpc(1);
    let abort = |status: Value| json!({"abort": {"percent": 100, "grpcStatus": status}});
    let named = shop.service("named", faulty(abort(json!("permission-denied"))));
    let number = shop.service("number", faulty(abort(json!(9))));
    let http = shop.service(
        "http",
        faulty(json!({"abort": {"percent": 100, "status": 503}})),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        let code = |service: &ServiceHandle| {
            let call = client.call(service.v4, "/shop.Cart/Unary").send();
            call.code().to_owned()
        };
        assert_eq!(code(&named), "PERMISSION_DENIED");
        assert_eq!(code(&number), "FAILED_PRECONDITION");
        assert_eq!(code(&http), "UNAVAILABLE");
    }
    assert_eq!(shop.counts(), [0]);
}

/// Faults are a try of what a failure does: retries and breakers of others see them, and they go
/// with their policy.
#[test]
fn faults_end_with_their_policy() {
    let shop = Shop::of(1);
    let web = shop.service(
        "web",
        faulty(json!({"abort": {"percent": 100, "status": 503}})),
    );
    shop.mesh.start_agents();

    assert_eq!(ask(&shop.far, &web, "GET /").send().status, 503);
    shop.policy("web", &json!({}));
    ask(&shop.far, &web, "GET /").until("the fault is gone", |answer| answer.is_from("v1"));
    eventually("and stays away", SOON, || {
        let seen = tally(&shop.many(&shop.far, &web, 100));
        (seen.get("v1") == Some(&100)).then_some(()).ok_or(seen)
    });
}
