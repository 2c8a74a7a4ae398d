//! `retries`, and `retry` of an HTTPRoute's rule.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{
    Answer, Pod, ServiceHandle,
    manifests::{self, parent},
};

use super::{Shop, assert_all_well, expect_metric, never_opens, no_retries, tally};
use crate::http::{ask, outcome};

const RETRIES: &str = "weir_retries_total";

/// A budget that does not run out.
fn unbounded() -> Value {
    json!({"percent": 100, "minPerSecond": 1000})
}

/// Retries after `on` which nothing else comes in the way of.
fn retries_on(on: &[&str]) -> Value {
    json!({
        "retries": {"attempts": 2, "on": on, "budget": unbounded()},
        "circuitBreaker": never_opens(),
        "loadBalancer": {"algorithm": "round-robin"},
    })
}

#[test]
fn a_503_of_one_of_three_endpoints_is_hidden() {
    let shop = Shop::of(3);
    let web = shop.service(
        "web",
        json!({"retries": {"attempts": 2, "on": ["gateway-error"]}}),
    );
    let tireless = shop.service("tireless", retries_on(&["gateway-error"]));
    let bare = shop.service(
        "bare",
        json!({
            "retries": no_retries(),
            "circuitBreaker": never_opens(),
            "loadBalancer": {"algorithm": "round-robin"},
        }),
    );
    shop.apps[0].order("answer status=503");
    shop.mesh.start_agents();

    for client in shop.clients() {
        assert_all_well(&shop.many(client, &web, 500));
        // It does fail: each third request sees it, and without a breaker it is asked each time.
        let failed = tally(&shop.many(client, &bare, 300));
        assert_eq!(failed["503 of the application"], 100, "{failed:?}");
        shop.forget();
        assert_all_well(&shop.many(client, &tireless, 300));
        let asked = shop.counts();
        assert!((75..=150).contains(&asked[0]), "{asked:?}");
        let depths =
            |app: usize| shop.apps[app].order("counts")["by_header"]["x-weir-retry-depth"].clone();
        assert!(
            depths(0).is_null() && !depths(1).is_null(),
            "a first try is no retry, and a retry says so: {:?}",
            [depths(0), depths(1), depths(2)]
        );
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, RETRIES, &[("outcome", "succeeded")], 75);
    }
    shop.mesh
        .expect_requests(&shop.far, &shop.pods[1], 200, &[], 300);
}

/// How often the application was asked for one request, and what the client got.
fn tries(shop: &Shop, client: &Pod, service: &ServiceHandle, line: &str) -> (u64, String) {
    shop.forget();
    let answer = ask(client, service, line).send();
    (shop.counts().iter().sum(), outcome(&answer))
}

/// RFC 9110 §9.2.2: what is not idempotent is not done twice, unless the policy says that it may be.
#[test]
fn what_may_have_been_processed_is_not_tried_again() {
    let shop = Shop::of(2);
    let mut policy = retries_on(&["gateway-error", "reset"]);
    // A warm connection that ends under a GET is another matter (RFC 9112 §9.3.1).
    policy["connections"] = json!({"requestsPerConnection": 1});
    let web = shop.service("web", policy.clone());
    let mut posts = policy;
    posts["retries"]["methods"] = json!(["POST"]);
    let posts = shop.service("posts", posts);
    let unsaid = shop.service("unsaid", json!({"circuitBreaker": never_opens()}));
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.order("answer status=503");
        let failed = "503 of the application".to_owned();
        for (method, wanted) in [
            ("GET", 3),
            ("PUT", 3),
            ("DELETE", 3),
            ("POST", 1),
            ("PATCH", 1),
        ] {
            let line = format!("{method} /");
            assert_eq!(
                tries(&shop, client, &web, &line),
                (wanted, failed.clone()),
                "{method}"
            );
        }
        assert_eq!(tries(&shop, client, &posts, "POST /").0, 3);
        // A list replaces the idempotent ones.
        assert_eq!(tries(&shop, client, &posts, "GET /").0, 1);
        // By default nothing that was sent is sent again.
        assert_eq!(tries(&shop, client, &unsaid, "GET /").0, 1);
        shop.order("answer status=500");
        assert_eq!(
            tries(&shop, client, &web, "GET /").0,
            1,
            "500 is no gateway error"
        );

        shop.order("answer reset");
        let (asked, ended) = tries(&shop, client, &web, "GET /");
        assert!(
            (3..=4).contains(&asked) && ended == "502 upstream_reset",
            "{asked} {ended}"
        );
        let (asked, ended) = tries(&shop, client, &web, "POST /");
        assert_eq!((asked, &*ended), (1, "502 upstream_reset"));
        shop.order("answer");
    }
    let agent = shop.mesh.agent_of(&shop.far);
    expect_metric(&agent, RETRIES, &[("outcome", "failed")], 4);
}

/// What was certainly not processed is tried elsewhere whatever the method, also without a policy.
#[test]
fn what_was_not_processed_is_tried_again_without_being_asked() {
    let mut shop = Shop::of(2);
    let pods: Vec<_> = shop.pods.iter().collect();
    let web = shop.without_policy("web", &pods);
    let h2c = shop
        .mesh
        .new_service("h2c")
        .port(80, 8080, "kubernetes.io/h2c")
        .of(&pods);
    shop.mesh.start_agents();

    for client in shop.clients() {
        // RFC 9113 §8.7.
        shop.forget();
        shop.apps[0].order("answer refuse");
        shop.apps[1].order("answer refuse next=1");
        let answer = ask(client, &h2c, "POST /").h2().send();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(shop.counts().iter().sum::<u64>() >= 2);
        shop.order("answer");
    }
    // Nothing listens any more.
    drop(shop.apps.remove(0));
    for client in shop.clients() {
        let answers = ask(client, &web, "POST /")
            .body("once")
            .times(50)
            .send_all();
        assert_all_well(&answers);
        assert!(
            answers
                .iter()
                .all(|answer| answer.report()["body"] == "once")
        );
    }
    assert_eq!(
        shop.apps[0].order("counts")["by_method"]["POST"].as_u64(),
        Some(101)
    );
}

#[test]
fn a_body_is_sent_again_whole_or_not_at_all() {
    let shop = Shop::of(1);
    let mut policy = retries_on(&["gateway-error"]);
    policy["retries"]["methods"] = json!(["POST"]);
    let web = shop.service("web", policy.clone());
    policy["retries"]["bufferBytes"] = json!("256Ki");
    let large = shop.service("large", policy);
    shop.mesh.start_agents();

    let post = |client: &Pod, service: &ServiceHandle, bytes: usize, h2: bool| -> Answer {
        shop.apps[0].order("answer next=1 status=503");
        shop.forget();
        let file = client.dir().join("body");
        let body: Vec<u8> = (0..bytes).map(|at| b'a' + (at % 23) as u8).collect();
        std::fs::write(&file, body).unwrap();
        let request = ask(client, service, "POST / expect:");
        let request = if h2 { request.h2() } else { request };
        request
            .flags(&["--data-binary", &format!("@{}", file.display())])
            .send()
    };
    for client in shop.clients() {
        for h2 in [false, true] {
            let mut sums = Vec::new();
            for (service, bytes) in [(&web, 60_000), (&large, 200_000)] {
                let answer = post(client, service, bytes, h2);
                assert!(answer.is_from("v1"), "{answer:?}");
                assert_eq!(shop.counts(), [2]);
                assert_eq!(answer.report()["body_bytes"], bytes);
                sums.push(answer.report()["body_sha256"].clone());
            }
            shop.apps[0].order("answer");
            let whole = ask(client, &web, "POST / expect:")
                .body(&"abcdefghijklmnopqrstuvw".repeat(2609)[..60_000]);
            assert_eq!(whole.send().report()["body_sha256"], sums[0]);
            let over = post(client, &web, 200_000, h2);
            assert_eq!(
                (outcome(&over), shop.counts()),
                ("503 of the application".into(), vec![1])
            );
        }
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, RETRIES, &[("outcome", "body_too_large")], 2);
    }
}

/// GEP-1731, and whose word counts: the rule's own, then the policy on the service.
#[test]
fn a_rule_says_its_own_retries() {
    let shop = Shop::of(1);
    let mut policy = retries_on(&["gateway-error"]);
    policy["retries"]["attempts"] = json!(0);
    let web = shop.service("web", policy);
    let rule = |path: &str, retry: Value| {
        json!({
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "retry": retry,
            "backendRefs": [manifests::backend("web")],
        })
    };
    let mut rules = vec![
        rule(
            "/thrice",
            json!({"codes": [503, 418], "attempts": 3, "backoff": "1ms"}),
        ),
        rule("/once", json!({"codes": [503], "attempts": 1})),
    ];
    rules.push(json!({"backendRefs": [manifests::backend("web")]}));
    shop.mesh.apply(&manifests::http_route(
        "shop",
        "web",
        parent("web"),
        rules.into(),
    ));
    shop.mesh.start_agents();

    for client in shop.clients() {
        for (order, path, wanted) in [
            ("answer status=503", "/thrice", 4),
            ("answer status=418", "/thrice", 4),
            ("answer status=502", "/thrice", 1),
            ("answer status=503", "/once", 2),
            ("answer status=503", "/", 1),
        ] {
            shop.order(order);
            let (asked, _) = tries(&shop, client, &web, &format!("GET {path}"));
            assert_eq!(asked, wanted, "{order} for {path}");
        }
        shop.order("answer next=1 status=503");
        let (asked, ended) = tries(&shop, client, &web, "GET /once");
        assert_eq!((asked, &*ended), (2, "v1"));
    }
}

/// RFC 9110 §10.2.3: a server that says when to come again is not asked before.
#[test]
fn retry_after_is_respected() {
    let shop = Shop::of(1);
    let web = shop.service("web", retries_on(&["gateway-error"]));
    shop.mesh.start_agents();

    for client in shop.clients() {
        for (after, patient) in [("1", true), ("3600", false)] {
            shop.order(&format!("answer next=1 status=503&set=retry-after:{after}"));
            shop.forget();
            let answer = ask(client, &web, "GET /").send();
            // It may also be passed on: what waits is the client's patience.
            if answer.status == 200 {
                assert!(
                    patient && answer.took >= Duration::from_secs(1),
                    "{answer:?}"
                );
                assert_eq!(shop.counts(), [2]);
            } else {
                assert_eq!(answer.status, 503, "{answer:?}");
                assert_eq!(answer.header("retry-after"), Some(after), "{answer:?}");
                assert_eq!(shop.counts(), [1], "asked before its time");
            }
            shop.order("answer");
        }
    }
}

/// A second try goes where the first has not been.
#[test]
fn another_endpoint_comes_first() {
    let shop = Shop::of(2);
    let mut policy = retries_on(&["gateway-error"]);
    policy["retries"]["attempts"] = json!(1);
    let web = shop.service("web", policy);
    shop.apps[0].order("answer status=503");
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        assert_all_well(&shop.many(client, &web, 100));
        let asked = shop.counts();
        assert!(asked[0] >= 25 && asked[1] == 100, "{asked:?}");
    }
}

#[test]
fn calls_are_tried_again_by_their_grpc_status() {
    let shop = Shop::of_grpc(2);
    let web = shop.service("web", retries_on(&["unavailable", "resource-exhausted"]));
    shop.mesh.start_agents();

    for client in shop.clients() {
        // Each of the two fails one call: the third try is served.
        for (code, tries, ended) in [
            ("UNAVAILABLE", 3, "OK"),
            ("RESOURCE_EXHAUSTED", 3, "OK"),
            ("INTERNAL", 1, "INTERNAL"),
        ] {
            shop.order(&format!("fail {code} 1"));
            shop.forget();
            let call = client.call(web.v4, "/shop.Cart/Unary").send();
            let seen = shop.counts().iter().sum::<u64>();
            assert_eq!((seen, call.code()), (tries, ended), "{code}: {call:?}");
            shop.order("fail OK");
        }
    }
}

/// W3C Trace Context: what an application hands on that is traced.
const TRACED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Retries of retries: each hop sees how deep it is, and the last one does not pay for all of them.
#[test]
fn a_chain_does_not_multiply() {
    let shop = Shop::of(1);
    let stock = shop.mesh.pod("stock", "n1").enrolled();
    let last = stock.http(8080);
    let web = shop.service("web", retries_on(&["gateway-error"]));
    let stock = shop.service_of("stock", &[&stock], retries_on(&["gateway-error"]));
    last.order("answer status=503");
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        last.order("forget");
        let answer = ask(client, &web, "GET /")
            .header("x-call", &stock.v4.to_string())
            .header("traceparent", TRACED)
            .send();
        assert_eq!(answer.status, 503, "{answer:?}");
        let (first, second) = (shop.counts()[0], last.order("counts"));
        assert_eq!(first, 3);
        // Three for the first try, one for each of its retries; blind, there would be nine.
        let asked = second["requests"].as_u64().unwrap_or(0);
        assert!((3..=5).contains(&asked), "{second}");
        assert!(
            !second["by_header"]["x-weir-retry-depth"].is_null(),
            "{second}"
        );
    }
}
