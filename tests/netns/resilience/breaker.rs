//! `circuitBreaker`: an endpoint that fails is left alone, then asked by one request, then used again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::{Agent, Pod, ServiceHandle, eventually, never};

use super::{SLACK, SOON, Shop, assert_all_well, expect_metric, no_retries, tally};
use crate::http::{ask, outcome};

const TRANSITIONS: &str = "weir_breaker_transitions_total";
/// Long enough to look at.
const OPEN_FOR: Duration = Duration::from_secs(1);

fn opens_after(errors: u32) -> Value {
    json!({
        "circuitBreaker": {"consecutiveErrors": errors, "openFor": "1s", "maxOpenFor": "8s"},
        "retries": no_retries(),
        "loadBalancer": {"algorithm": "round-robin"},
    })
}

/// Transitions to this state that the agent has counted.
fn transitions(agent: &Agent, to: &str) -> u64 {
    agent.metric(TRANSITIONS, &[("to", to)]) as u64
}

/// Waits until an application has been asked more than `before` times, and says when.
#[track_caller]
fn asked_again(shop: &Shop, app: usize, before: u64) -> Instant {
    eventually("it is asked again", Duration::from_secs(10), || {
        let asked = shop.apps[app].counted("requests");
        (asked > before).then(Instant::now).ok_or(asked)
    })
}

/// Asks until the breaker of `v1` has opened: how many errors that took.
#[track_caller]
fn open(shop: &Shop, client: &Pod, service: &ServiceHandle) -> usize {
    let agent = shop.mesh.agent_of(client);
    let before = transitions(&agent, "open");
    let mut failed = 0;
    eventually("the breaker opens", SOON, || {
        let answers = shop.many(client, service, 10);
        failed += answers.iter().filter(|answer| answer.status != 200).count();
        let opened = transitions(&agent, "open");
        (opened > before).then_some(()).ok_or(failed)
    });
    failed
}

#[test]
fn it_opens_spares_the_endpoint_probes_it_and_closes() {
    let shop = Shop::of(2);
    let web = shop.service("web", opens_after(5));
    shop.apps[0].order("answer status=503");
    shop.mesh.start_agents();
    let agent = shop.mesh.agent_of(&shop.far);

    assert_eq!(open(&shop, &shop.far, &web), 5);
    // While it is open nobody notices.
    let asked = shop.apps[0].counted("requests");
    assert_eq!(asked, 5);
    assert_all_well(&shop.many(&shop.far, &web, 100));
    assert_eq!(shop.apps[0].counted("requests"), asked);

    // Its time is over: one request, and no second one while that is under way.
    shop.apps[0].order("answer next=1 delay=700ms");
    let load = shop.far.http_load(web.v4, 50);
    asked_again(&shop, 0, asked);
    never("a second probe", Duration::from_millis(400), || {
        let asked = shop.apps[0].counted("requests");
        (asked > 6).then_some(asked)
    });
    // It was well, and has its share again.
    eventually("it is used again", SOON, || {
        let served = load.report().from("v1");
        (served >= 20).then_some(()).ok_or(served)
    });
    assert!(load.stop().is_all_well());
    for to in ["open", "half_open", "closed"] {
        eventually(&format!("one transition to {to}"), SOON, || {
            let seen = transitions(&agent, to);
            (seen == 1).then_some(()).ok_or(seen)
        });
    }
    eventually("it is told in the log", SOON, || {
        let log = agent.log();
        let told = ["half", "closed"].iter().all(|word| {
            log.lines()
                .any(|line| line.contains("breaker") && line.contains(word))
        });
        told.then_some(()).ok_or(log)
    });
}

/// Each agent has its own: what one client's node has seen is not the other's.
#[test]
fn every_failed_probe_doubles_the_time() {
    let shop = Shop::of(2);
    let web = shop.service("web", opens_after(2));
    shop.apps[0].order("answer status=503");
    shop.mesh.start_agents();

    let load = shop.near.http_load(web.v4, 40);
    let agent = shop.mesh.agent_of(&shop.near);
    let mut at = vec![asked_again(&shop, 0, 1)];
    for probe in 0..3 {
        at.push(asked_again(&shop, 0, 2 + probe));
    }
    drop(load);
    for (number, pair) in at.windows(2).enumerate() {
        let wanted = OPEN_FOR * (1 << number);
        let waited = pair[1] - pair[0];
        // An instant is when it was seen, which is a little later than it was.
        let range = wanted - Duration::from_millis(200)..wanted + SLACK;
        assert!(range.contains(&waited), "probe {number} after {waited:?}");
    }
    // The last probe was seen at the application; its answer may still be on its way.
    eventually("four openings", SOON, || {
        let seen = transitions(&agent, "open");
        (seen >= 4).then_some(()).ok_or(seen)
    });
    assert_eq!(transitions(&agent, "closed"), 0);
}

#[test]
fn with_all_of_them_open_the_answer_is_at_once() {
    let shop = Shop::of(2);
    let mut policy = opens_after(3);
    policy["circuitBreaker"]["openFor"] = json!("30s");
    policy["circuitBreaker"]["maxOpenFor"] = json!("60s");
    policy["circuitBreaker"]["maxOpenFor"] = json!("60s");
    let web = shop.service("web", policy);
    shop.order("answer status=503");
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        let answers = shop.many(client, &web, 50);
        let seen = tally(&answers);
        assert_eq!(seen["503 of the application"], 6, "{seen:?}");
        assert_eq!(seen["503 breaker_open"], 44, "{seen:?}");
        assert_eq!(shop.counts(), [3, 3]);
        let last = answers.last().unwrap();
        let after: u64 = last
            .header("retry-after")
            .unwrap_or_default()
            .parse()
            .unwrap();
        assert!((1..=30).contains(&after), "{last:?}");
        let quickest = answers.iter().skip(6).map(|answer| answer.took).min();
        assert!(quickest.is_some_and(|took| took < Duration::from_millis(5)));
        shop.mesh.agent_of(client).expect_logged(&["breaker_open"]);
    }
    let status = shop.mesh.weir("n1", &["status"]).run().expect_ok();
    let lines = status.lines().filter(|line| line.contains("open"));
    let mut shown = lines.filter(|line| {
        shop.pods
            .iter()
            .any(|pod| line.contains(&pod.ipv4().to_string()))
    });
    assert!(shown.next().is_some(), "{status}");
    let agent = shop.mesh.agent_on("n1");
    assert!(
        agent
            .metrics()
            .find("weir_breaker_state", &[])
            .next()
            .is_some()
    );
}

/// A mesh that nobody has told anything must not take a service away that still answers a little.
#[test]
fn without_a_policy_the_last_one_stays_closed() {
    let shop = Shop::of(2);
    let pods: Vec<_> = shop.pods.iter().collect();
    let web = shop.without_policy("web", &pods);
    let single = shop.without_policy("single", &[&shop.pods[0]]);
    shop.order("answer status=503");
    shop.mesh.start_agents();

    for client in shop.clients() {
        for service in [&web, &single] {
            let seen = tally(&shop.many(client, service, 60));
            assert_eq!(
                seen["503 of the application"], 60,
                "{}: {seen:?}",
                service.name
            );
        }
        // Of two, one was opened all the same.
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, TRANSITIONS, &[("to", "open")], 1);
        shop.forget();
        shop.many(client, &web, 40);
        let asked = shop.counts();
        assert!(asked.iter().any(|&count| count >= 36), "{asked:?}");
    }
    // It is well at last: so is the service.
    shop.order("answer");
    for client in shop.clients() {
        assert_all_well(&shop.many(client, &web, 20));
    }
}

#[test]
fn no_more_than_their_share_is_open() {
    let shop = Shop::of(4);
    let mut policy = opens_after(2);
    policy["circuitBreaker"]["openFor"] = json!("30s");
    policy["circuitBreaker"]["maxOpenFor"] = json!("60s");
    policy["circuitBreaker"]["maxEjectedPercent"] = json!(50);
    let web = shop.service("web", policy);
    shop.order("answer status=503");
    shop.mesh.start_agents();

    let answers = shop.many(&shop.far, &web, 60);
    let seen = tally(&answers);
    assert_eq!(seen["503 of the application"], 60, "{seen:?}");
    shop.forget();
    shop.many(&shop.far, &web, 40);
    let mut asked = shop.counts();
    asked.sort_unstable();
    assert_eq!(asked[..2], [0, 0], "{asked:?}");
    assert_eq!(asked[2..], [20, 20], "{asked:?}");
}

#[test]
fn a_share_of_errors_opens_it_and_others_count_where_the_policy_says() {
    let shop = Shop::of(1);
    let policy = |breaker: Value| {
        let mut breaker = breaker;
        breaker["openFor"] = json!("30s");
        json!({"circuitBreaker": breaker, "retries": no_retries()})
    };
    let share = shop.service(
        "share",
        policy(json!({"consecutiveErrors": 0, "errorPercent": 50, "minRequests": 20})),
    );
    let below = shop.service(
        "below",
        policy(json!({"consecutiveErrors": 0, "errorPercent": 70, "minRequests": 20})),
    );
    let five = shop.service("five", policy(json!({"consecutiveErrors": 3})));
    let all_five = shop.service(
        "all-five",
        policy(json!({"consecutiveErrors": 3, "errorOn": ["5xx", "429"]})),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.order("answer percent=60 status=503");
        shop.forget();
        let open = shop.many(client, &share, 60);
        assert!(
            open.iter()
                .skip(40)
                .all(|answer| answer.reason() == Some("breaker_open"))
        );
        let asked = shop.counts()[0];
        assert!((20..=40).contains(&asked), "{asked}");
        let closed = tally(&shop.many(client, &below, 60));
        assert_eq!(closed.get("503 breaker_open"), None, "{closed:?}");

        // 500 is the application's own affair, unless the policy says otherwise.
        shop.order("answer status=500");
        let closed = tally(&shop.many(client, &five, 10));
        assert_eq!(closed["500 of the application"], 10, "{closed:?}");
        let open = tally(&shop.many(client, &all_five, 10));
        assert_eq!(
            (open["500 of the application"], open["503 breaker_open"]),
            (3, 7)
        );
        shop.order("answer reset");
        let open = tally(&shop.many(client, &five, 10));
        assert_eq!(
            (open["502 upstream_reset"], open["503 breaker_open"]),
            (3, 7)
        );
    }
}

#[test]
fn calls_get_unavailable() {
    let shop = Shop::of_grpc(1);
    let mut policy = opens_after(3);
    policy["circuitBreaker"]["openFor"] = json!("30s");
    policy["circuitBreaker"]["maxOpenFor"] = json!("60s");
    let web = shop.service("web", policy);
    shop.order("fail UNAVAILABLE");
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        let calls = client.call(web.v4, "/shop.Cart/Unary").send_all(10);
        assert!(calls.iter().all(|call| call.code() == "UNAVAILABLE"));
        let details = |at: usize| calls[at].0["details"].as_str().unwrap_or_default();
        assert_eq!(details(2), "as ordered");
        assert!(details(3).contains("breaker_open"), "{}", details(3));
        assert_eq!(shop.counts(), [3]);
    }
}

/// Connections have breakers too: who cannot be reached is not dialled.
#[test]
fn opaque_services_have_it_too() {
    let mut shop = Shop::of_echo(2);
    let mut policy = opens_after(3);
    policy["circuitBreaker"]["openFor"] = json!("3s");
    policy.as_object_mut().unwrap().remove("retries");
    let web = shop.service("web", policy);
    drop(shop.apps.remove(0));
    shop.mesh.start_agents();
    let agent = shop.mesh.agent_of(&shop.far);
    let refused_there = || {
        shop.mesh
            .agent_of(&shop.pods[0])
            .failures(&["connect_refused"])
    };

    for _ in 0..20 {
        shop.far.expect_echo(web.v4);
    }
    expect_metric(&agent, TRANSITIONS, &[("to", "open")], 1);
    let met = refused_there();
    assert!((3.0..=4.0).contains(&met), "{met}");
    // Neither of them.
    let other = shop.apps.remove(0);
    drop(other);
    let talks: Vec<_> = (0..10).map(|_| shop.far.hello(web.v4)).collect();
    assert!(talks.iter().all(weir_tests::Talk::is_refused), "{talks:?}");
    agent.expect_failures(&["breaker_open"], 3);
    agent.expect_logged(&["breaker_open"]);
    let quickest = talks.iter().map(weir_tests::Talk::took).min();
    assert!(
        quickest.is_some_and(|took| took < Duration::from_millis(20)),
        "{quickest:?}"
    );
    // Both come back.
    shop.apps = shop
        .pods
        .iter()
        .map(|pod| pod.serve("echo", 8080))
        .collect();
    eventually("it is closed again", Duration::from_secs(10), || {
        let talk = shop.far.hello(web.v4);
        talk.is_ok().then_some(()).ok_or(talk)
    });
    expect_metric(&agent, TRANSITIONS, &[("to", "closed")], 1);
}

/// Whoever asks while it is open is told for how long: `retry-after` counts down.
#[test]
fn the_wait_grows_shorter() {
    let shop = Shop::of(1);
    let mut policy = opens_after(1);
    policy["circuitBreaker"]["openFor"] = json!("3s");
    let web = shop.service("web", policy);
    shop.apps[0].order("answer next=1 status=503");
    shop.mesh.start_agents();

    assert_eq!(ask(&shop.far, &web, "GET /").send().status, 503);
    let began = Instant::now();
    let mut waits = Vec::new();
    let served = eventually("it closes", Duration::from_secs(8), || {
        let answer = ask(&shop.far, &web, "GET /").send();
        if answer.is_from("v1") {
            return Ok(began.elapsed());
        }
        assert_eq!(outcome(&answer), "503 breaker_open");
        let after = answer.header("retry-after").unwrap_or_default();
        waits.push(after.parse::<u64>().unwrap());
        Err(answer.status)
    });
    assert!(served >= Duration::from_millis(2_900), "{served:?}");
    assert!(waits.is_sorted_by(|a, b| a >= b), "{waits:?}");
    assert_eq!((waits.first(), waits.last()), (Some(&3), Some(&1)));
}
