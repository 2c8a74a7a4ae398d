//! `connections`: what is over a limit is refused at once and not later.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{Answer, Pod, Proc, ServiceHandle, eventually};

use super::{SOON, Shop, expect_metric, never_opens, no_retries, tally};
use crate::http::{ask, outcome};

const OVERFLOWS: &str = "weir_pool_overflows_total";
/// Of the quickest of many: what is measured is Weir and not the machine's other work.
const AT_ONCE: Duration = Duration::from_millis(5);

fn limits(connections: Value) -> Value {
    json!({
        "connections": connections,
        "retries": no_retries(),
        "circuitBreaker": never_opens(),
    })
}

/// So many requests that the application holds until it is dropped.
fn hold(shop: &Shop, client: &Pod, service: &ServiceHandle, count: usize) -> Vec<Proc> {
    shop.forget();
    let held = (0..count).map(|_| ask(client, service, "GET /?hang").start());
    let held: Vec<_> = held.collect();
    eventually("they are under way", SOON, || {
        let under_way = shop.counts()[0];
        (under_way == count as u64).then_some(()).ok_or(under_way)
    });
    held
}

#[test]
fn requests_over_the_limit_are_refused_at_once() {
    let shop = Shop::of(1);
    let web = shop.service("web", limits(json!({"requests": 3})));
    let other = shop.service("other", limits(json!({"requests": 3})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let held = hold(&shop, client, &web, 3);
        let refused = shop.many(client, &web, 30);
        assert_eq!(tally(&refused)["503 pool_full"], 30);
        let quickest = refused.iter().map(|answer| answer.took).min();
        assert!(quickest.is_some_and(|took| took <= AT_ONCE), "{quickest:?}");
        let h2 = ask(client, &web, "GET /").h2().send();
        assert_eq!(outcome(&h2), "503 pool_full");
        assert_eq!(shop.counts(), [3], "the application hears nothing of them");
        // One service's limit is not another's.
        assert!(ask(client, &other, "GET /").send().is_from("v1"));
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, OVERFLOWS, &[], 31);
        agent.expect_logged(&["pool_full"]);
        drop(held);
        ask(client, &web, "GET /").until("there is room again", |answer| answer.is_from("v1"));
    }
}

/// Who finds no free connection waits, but not everybody.
#[test]
fn requests_that_wait_for_a_connection_are_bounded() {
    let shop = Shop::of(1);
    let web = shop.service("web", limits(json!({"max": 1, "pending": 1})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        let first = ask(client, &web, "GET /?delay=1s").start();
        eventually("the connection is taken", SOON, || {
            (shop.counts() == [1]).then_some(()).ok_or(shop.counts())
        });
        let next: Vec<_> = (0..3).map(|_| ask(client, &web, "GET /").start()).collect();
        let mut answers = Answer::read_all(&first.finish().stdout);
        for request in next {
            answers.extend(Answer::read_all(&request.finish().stdout));
        }
        let tally = tally(&answers);
        assert_eq!((tally["v1"], tally["503 pool_full"]), (2, 2), "{tally:?}");
        assert_eq!(shop.counts(), [2]);
        let most = shop.apps[0].counted("most");
        assert_eq!(most, 1, "more than one connection");
        let agent = shop.mesh.agent_of(client);
        expect_metric(&agent, OVERFLOWS, &[], 2);
    }
}

#[test]
fn a_connection_is_closed_after_its_requests() {
    let shop = Shop::of(1);
    let three = shop.service("three", limits(json!({"requestsPerConnection": 3})));
    let many = shop.service("many", json!({}));
    shop.mesh.start_agents();

    for client in shop.clients() {
        for (service, range) in [(&three, 10..=12), (&many, 0..=3)] {
            shop.forget();
            let answers = shop.many(client, service, 30);
            assert_eq!(tally(&answers)["v1"], 30);
            // Weir's own connections: the client's stays.
            assert_eq!(answers.iter().map(|answer| answer.dials).sum::<u64>(), 1);
            let connections = shop.apps[0].counted("connections");
            assert!(
                range.contains(&connections),
                "{}: {connections}",
                service.name
            );
        }
    }
}

#[test]
fn connections_of_opaque_bytes_over_the_limit_are_reset() {
    let shop = Shop::of_echo(1);
    let web = shop.service("web", limits(json!({"max": 2})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let open = client.testprog(&["hold", &web.v4.to_string(), "2"]).spawn();
        open.event_named("open");
        for _ in 0..3 {
            let talk = client.hello(web.v4);
            assert!(talk.is_refused(), "{talk:?}");
        }
        open.tell("check");
        assert_eq!(open.event_named("checked")["ok"], 2);
        let agent = shop.mesh.agent_of(client);
        agent.expect_failures(&["pool_full"], 3);
        expect_metric(&agent, OVERFLOWS, &[], 3);
        drop(open);
        eventually("there is room again", SOON, || {
            let talk = client.hello(web.v4);
            talk.is_ok().then_some(()).ok_or(talk)
        });
    }
}
