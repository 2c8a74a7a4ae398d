//! `healthCheck`: who fails its check is left alone before anybody's request has to find out.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{Proc, eventually, never};

use super::{SOON, Shop, assert_all_well, expect_metric, never_opens, no_retries, tally};
use crate::http::{ask, outcome};

const CHECKS: &str = "weir_health_checks_total";
/// Agents that check, each for its own node's clients.
const AGENTS: u64 = 2;
/// EndpointSlices are of one family each: a pod with two addresses is two endpoints.
const FAMILIES: u64 = 2;

/// Nothing but the check takes an endpoint out.
fn checked(check: Value) -> Value {
    let mut check = check;
    check["interval"] = json!("200ms");
    check["healthy"] = json!(2);
    check["unhealthy"] = json!(2);
    json!({
        "healthCheck": check,
        "retries": no_retries(),
        "circuitBreaker": never_opens(),
        "loadBalancer": {"algorithm": "round-robin"},
    })
}

fn checks(app: &Proc, path: &str) -> u64 {
    app.order("counts")["by_path"][path].as_u64().unwrap_or(0)
}

#[test]
fn who_fails_its_check_gets_nothing_until_it_is_well() {
    let shop = Shop::of(2);
    let web = shop.service("web", checked(json!({"path": "/healthz?deep=1"})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        assert_eq!(tally(&shop.many(client, &web, 40)).len(), 2);
        // The check fails, and nothing else does.
        shop.apps[0].order("answer path=/healthz status=500");
        let out = || {
            let seen = tally(&shop.many(client, &web, 20));
            (seen.get("v2") == Some(&20)).then_some(()).ok_or(seen)
        };
        eventually("it gets nothing", SOON, out);
        assert_all_well(&shop.many(client, &web, 100));
        assert_eq!(tally(&shop.many(client, &web, 100))["v2"], 100);
        shop.apps[0].order("answer path=/healthz");
        eventually("it is asked again", SOON, || {
            let seen = tally(&shop.many(client, &web, 20));
            (seen.get("v1") == Some(&10)).then_some(()).ok_or(seen)
        });
        // Slow is failing: the check has a time-out, its interval where nothing is said.
        shop.apps[0].order("answer path=/healthz delay=2s");
        eventually("it gets nothing", SOON, out);
        shop.apps[0].order("answer path=/healthz");
        eventually("it is asked again", SOON, || {
            let seen = tally(&shop.many(client, &web, 20));
            (seen.len() == 2).then_some(()).ok_or(seen)
        });
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, CHECKS, &[("outcome", "failure")], 4);
        expect_metric(&agent, CHECKS, &[("outcome", "success")], 4);
    }
}

/// One failure in between is none: thresholds count in a row.
#[test]
fn one_failure_is_no_failure() {
    let shop = Shop::of(2);
    let web = shop.service("web", checked(json!({"path": "/healthz"})));
    shop.mesh.start_agents();

    shop.many(&shop.far, &web, 2);
    shop.apps[0].order("answer path=/healthz next=1 status=500");
    let before = checks(&shop.apps[0], "/healthz");
    eventually("the failure is over", SOON, || {
        let more = checks(&shop.apps[0], "/healthz") - before;
        (more >= 2 * AGENTS * FAMILIES).then_some(()).ok_or(more)
    });
    assert_eq!(tally(&shop.many(&shop.far, &web, 40))["v1"], 20);
}

/// Of all checks of an application together.
#[test]
fn checks_are_a_load_with_a_bound() {
    let shop = Shop::of(3);
    let web = shop.service("web", checked(json!({"path": "/healthz"})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.many(client, &web, 30);
    }
    shop.forget();
    // Five a second, agent and address; jitter moves them by less than a third.
    let window = Duration::from_secs(3);
    let most = 3 * 5 * AGENTS * FAMILIES * 4 / 3;
    never("more checks than were asked for", window, || {
        let seen: Vec<_> = shop
            .apps
            .iter()
            .map(|app| checks(app, "/healthz"))
            .collect();
        seen.iter()
            .any(|&count| count > most)
            .then_some((seen, most))
    });
    for app in &shop.apps {
        let seen = checks(app, "/healthz");
        assert!(seen >= 8, "{seen} checks in 3 s");
        // Checks are no reason for a new connection each time, nor for a crowd at one moment.
        assert!(app.counted("most") <= AGENTS * FAMILIES);
    }
    // Requests of the application's own clients are not in it, and checks not in theirs.
    let agent = shop.mesh.agent_of(&shop.far);
    let counted = agent.metric("istio_requests_total", &[("reporter", "source")]);
    assert!(counted <= 60.0, "{counted}");
}

#[test]
fn grpc_servers_say_it_themselves() {
    let shop = Shop::of_grpc(2);
    let server = shop.service("server", checked(json!({"grpc": ""})));
    let cart = shop.service("cart", checked(json!({"grpc": "shop.Cart"})));
    shop.order("health SERVING shop.Cart");
    shop.mesh.start_agents();

    let servers = |service: &weir_tests::ServiceHandle| {
        let calls = shop.far.call(service.v4, "/shop.Cart/Unary").send_all(20);
        let mut servers: Vec<_> = calls.iter().map(|call| call.server().to_owned()).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    };
    let both = ["v1".to_owned(), "v2".to_owned()];
    assert_eq!(servers(&server), both);
    shop.apps[0].order("health NOT_SERVING shop.Cart");
    eventually("the service is out", SOON, || {
        let seen = servers(&cart);
        (seen == both[1..]).then_some(()).ok_or(seen)
    });
    // Another service of the same server is not.
    assert_eq!(servers(&server), both);
    shop.apps[0].order("health SERVING shop.Cart");
    eventually("it is back", SOON, || {
        let seen = servers(&cart);
        (seen == both).then_some(()).ok_or(seen)
    });
}

/// Without one, the first connections find out; with it, none has to.
#[test]
fn a_connection_is_check_enough_for_opaque_bytes() {
    let mut shop = Shop::of_echo(2);
    let web = shop.service("web", checked(json!({"tcp": true})));
    shop.mesh.start_agents();
    let refused = || {
        let agent = shop.mesh.agent_of(&shop.far);
        let metrics = agent.metrics();
        metrics.sum(CHECKS, &[("outcome", "failure")])
    };

    for _ in 0..10 {
        shop.far.expect_echo(web.v4);
    }
    assert_eq!(refused(), 0.0);
    let gone = shop.apps.remove(0);
    drop(gone);
    let agent = shop.mesh.agent_of(&shop.far);
    expect_metric(&agent, CHECKS, &[("outcome", "failure")], 4);
    for _ in 0..20 {
        shop.far.expect_echo(web.v4);
    }
    shop.apps.push(shop.pods[0].serve("echo", 8080));
    let back = &shop.apps[1];
    eventually("it is dialled again", SOON, || {
        shop.far.expect_echo(web.v4);
        let echoed = back.events();
        let echoed = echoed
            .iter()
            .any(|event| event["event"] == "closed" && event["received"] == 5);
        echoed.then_some(()).ok_or(back.stdout())
    });
}

/// Nobody is asked who is known not to be well (api.md: no healthy endpoint is 503).
#[test]
fn with_nobody_healthy_the_answer_is_said_to_be_so() {
    let shop = Shop::of(2);
    let web = shop.service("web", checked(json!({"path": "/absent"})));
    shop.order("answer path=/absent status=404");
    shop.mesh.start_agents();

    let answer = ask(&shop.far, &web, "GET /");
    answer.until("nobody is healthy", |answer| {
        outcome(answer) == "503 no_healthy_endpoint"
    });
    shop.order("answer path=/absent");
    answer.until("they are", |answer| answer.status == 200);
}
