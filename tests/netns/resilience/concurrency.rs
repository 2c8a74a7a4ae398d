//! `concurrency`: a pod that is asked for more than it can do does what it can.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{Answer, LoadReport, ServiceHandle, eventually};

use super::{SOON, Shop, expect_metric, never_opens, no_retries, tally};
use crate::http::ask;

const SHED: &str = "weir_requests_shed_total";
/// At a time, 40 ms each: 100 a second.
const WORKERS: u32 = 4;
const CAPACITY: f64 = 100.0;
/// What comes later is of no use to the client.
const PATIENCE_MS: &str = "400";

fn limited(concurrency: Value) -> Value {
    let mut policy = json!({"retries": no_retries(), "circuitBreaker": never_opens()});
    if !concurrency.is_null() {
        policy["concurrency"] = concurrency;
    }
    policy
}

/// Three times as many requests as there is capacity for.
fn overload(shop: &Shop, service: &ServiceHandle, seconds: u32) -> LoadReport {
    shop.order(&format!("capacity {WORKERS}"));
    let count = (300 * seconds).to_string();
    let flags = [
        "--path",
        "/?delay=40ms",
        "--patience",
        PATIENCE_MS,
        "--count",
        &count,
    ];
    shop.far.http_load_with(&flags, service.v4, 300).stop()
}

/// Answers of use, a second, of what the application could have given.
fn goodput(report: &LoadReport) -> f64 {
    report.answers("200") as f64 / report.seconds() / CAPACITY
}

#[test]
fn an_overloaded_pod_still_does_what_it_can() {
    let shop = Shop::of(2);
    // A limit is a pod's: one each.
    let web = limited(json!({"limit": WORKERS, "queue": 8}));
    let web = shop.service_of("web", &[&shop.pods[0]], web);
    let open = shop.service_of("open", &[&shop.pods[1]], limited(Value::Null));
    shop.mesh.start_agents();

    let kept = overload(&shop, &web, 4);
    assert!(
        goodput(&kept) >= 0.8,
        "{} of capacity: {kept:?}",
        goodput(&kept)
    );
    assert!(kept.answers("503 overloaded") >= 400, "{kept:?}");
    // Who is served is served soon: the queue is 8 long.
    assert!(kept.took("p99") < Duration::from_millis(350), "{kept:?}");
    assert_eq!(kept.number("late"), 0, "{kept:?}");
    let agent = shop.mesh.agent_of(&shop.pods[0]);
    expect_metric(&agent, SHED, &[], 400);
    agent.expect_logged(&["overloaded"]);

    // Without a limit it works on what nobody waits for any more.
    let lost = overload(&shop, &open, 2);
    assert!(
        goodput(&lost) < 0.5,
        "{} of capacity: {lost:?}",
        goodput(&lost)
    );
}

#[test]
fn the_queue_is_bounded_and_in_order() {
    let shop = Shop::of(2);
    let queue = limited(json!({"limit": 1, "queue": 2}));
    let web = shop.service_of("web", &[&shop.pods[0]], queue);
    let none = shop.service_of("none", &[&shop.pods[1]], limited(json!({"limit": 1})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        for (service, app, served) in [(&web, 0, 3), (&none, 1, 1)] {
            shop.forget();
            let first = ask(client, service, "GET /?delay=1s").start();
            eventually("it is at work", SOON, || {
                (shop.counts()[app] == 1).then_some(()).ok_or(shop.counts())
            });
            let others: Vec<_> = (0..5)
                .map(|_| ask(client, service, "GET /").start())
                .collect();
            let mut answers = Answer::read_all(&first.finish().stdout);
            for request in others {
                answers.extend(Answer::read_all(&request.finish().stdout));
            }
            let seen = tally(&answers);
            assert_eq!(
                (seen[shop.pods[app].name()], seen["503 overloaded"]),
                (served, 6 - served),
                "{}: {seen:?}",
                service.name
            );
            let counts = shop.apps[app].order("counts");
            assert_eq!(
                (&counts["most"], &counts["requests"]),
                (&json!(1), &json!(served))
            );
            let shed = answers.iter().filter(|answer| answer.status == 503);
            let quickest = shed.map(|answer| answer.took).min();
            assert!(
                quickest.is_some_and(|took| took < Duration::from_millis(200)),
                "{quickest:?}"
            );
        }
    }
}

/// Each pod has its own, and every way to it counts.
#[test]
fn the_limit_is_a_pods() {
    let shop = Shop::of(2);
    let web = shop.service("web", limited(json!({"limit": 2})));
    shop.mesh.start_agents();

    let direct = |pod: usize, path: &str| shop.near.request(shop.pods[pod].v4(8080), path);
    let held: Vec<_> = (0..2).map(|_| direct(0, "/?hang").start()).collect();
    eventually("both are at work", SOON, || {
        (shop.counts() == [2, 0]).then_some(()).ok_or(shop.counts())
    });
    let refused = direct(0, "/").send();
    assert_eq!(
        (refused.status, refused.reason()),
        (503, Some("overloaded"))
    );
    assert!(direct(1, "/").send().is_from("v2"));
    let through = ask(&shop.far, &web, "GET /").times(40).send_all();
    let seen = tally(&through);
    assert_eq!(
        seen["v2"] + seen.get("503 overloaded").copied().unwrap_or(0),
        40,
        "{seen:?}"
    );
    // Who goes makes room.
    drop(held);
    direct(0, "/").until("there is room again", |answer| answer.is_from("v1"));
}
