//! `loadBalancer`: who gets the next request.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_tests::{Answer, Pod, Request, ServiceHandle, eventually};

use super::{SOON, Shop, assert_all_well, never_opens, tally};
use crate::http::ask;

fn by(algorithm: &str) -> Value {
    json!({"loadBalancer": {"algorithm": algorithm}, "circuitBreaker": never_opens()})
}

fn hashing(algorithm: &str, on: Value) -> Value {
    json!({"loadBalancer": {"algorithm": algorithm, "hashOn": on}})
}

#[test]
fn each_algorithm_spreads_in_its_way() {
    let shop = Shop::of(3);
    let [in_turn, random, least, ewma] =
        ["round-robin", "random", "least-request", "ewma"].map(|name| shop.service(name, by(name)));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let exact = tally(&shop.many(client, &in_turn, 300));
        assert!(exact.values().all(|&count| count == 100), "{exact:?}");
        // A share of a third is within five standard deviations of 11.5.
        let even = tally(&shop.many(client, &random, 600));
        assert!(
            even.values().all(|count| (142..=258).contains(count)),
            "{even:?}"
        );
        assert_eq!(even.len(), 3);
        // One request at a time: all are as idle, and ties are broken at random.
        let spread = tally(&shop.many(client, &least, 300));
        assert_eq!(spread.len(), 3, "{spread:?}");
        assert!(spread.values().all(|&count| count >= 30), "{spread:?}");
        // A busy machine may have made one slow for a moment, which is held against it for a while.
        eventually("an even share", SOON * 2, || {
            let spread = tally(&shop.many(client, &ewma, 300));
            let is_even = spread.len() == 3 && spread.values().all(|&count| count >= 30);
            is_even.then_some(()).ok_or(spread)
        });
    }
}

#[test]
fn a_slow_endpoint_gets_less() {
    let shop = Shop::of(3);
    let [in_turn, least, ewma] =
        ["round-robin", "least-request", "ewma"].map(|name| shop.service(name, by(name)));
    shop.apps[0].order("answer delay=150ms");
    shop.mesh.start_agents();

    for client in shop.clients() {
        let share = |service: &ServiceHandle| {
            let flags = ["--count", "240"];
            let report = client.http_load_with(&flags, service.v4, 150).stop();
            assert!(report.is_all_well(), "{report:?}");
            report.from("v1")
        };
        assert_eq!(share(&in_turn), 80);
        for service in [&least, &ewma] {
            let slow = share(service);
            assert!(
                slow <= 40,
                "{}: {slow} of 240 to the slow one",
                service.name
            );
        }
    }
}

/// A third of what others get is not nothing: an endpoint that is quick again is found out.
#[test]
fn a_slow_endpoint_that_is_quick_again_gets_its_share_again() {
    let shop = Shop::of(2);
    let ewma = shop.service("web", by("ewma"));
    shop.apps[0].order("answer delay=100ms");
    shop.mesh.start_agents();

    let slow = shop
        .far
        .http_load_with(&["--count", "150"], ewma.v4, 150)
        .stop();
    assert!(slow.from("v1") <= 40, "{slow:?}");
    shop.order("answer");
    eventually("it has its share", SOON * 2, || {
        let quick = shop
            .far
            .http_load_with(&["--count", "60"], ewma.v4, 150)
            .stop();
        (quick.from("v1") >= 20).then_some(()).ok_or(quick)
    });
}

#[test]
fn endpoints_have_weights() {
    let shop = Shop::of(3);
    shop.pods[0].annotate("weir.dev/weight", "300");
    shop.pods[2].annotate("weir.dev/weight", "0");
    let algorithms = ["round-robin", "random", "least-request", "ewma"];
    let services = algorithms.map(|name| shop.service(name, by(name)));
    shop.mesh.start_agents();

    for service in &services {
        let shares = tally(&shop.many(&shop.far, service, 1_000));
        let heavy = shares["v1"];
        assert!((680..=820).contains(&heavy), "{}: {shares:?}", service.name);
        assert_eq!(shares.get("v3"), None, "{}: {shares:?}", service.name);
    }
    // A weight that changes counts from now on.
    shop.pods[0].annotate("weir.dev/weight", "100");
    eventually("the new weight", SOON, || {
        let shares = tally(&shop.many(&shop.far, &services[0], 100));
        (shares["v1"] == 50).then_some(()).ok_or(shares)
    });
}

/// Who answered for each of these keys.
fn servers(requests: Vec<Request<'_>>) -> Vec<String> {
    let answers = Request::send_each(requests);
    assert_all_well(&answers);
    answers.iter().map(Answer::server).collect()
}

/// Each key finds its endpoint again; when one leaves, the keys of the others stay where they are.
#[test]
fn keys_stay_with_their_endpoints() {
    const KEYS: usize = 120;
    let shop = Shop::of(3);
    let on = json!({"header": "x-user"});
    let [ring, maglev] =
        ["ring-hash", "maglev"].map(|name| shop.service(name, hashing(name, on.clone())));
    shop.mesh.start_agents();

    for (service, kept_percent) in [(&ring, 100), (&maglev, 85)] {
        let all = |client: &Pod| {
            let one = |key| {
                let line = format!("GET / x-user:{key}");
                ask(client, service, &line)
            };
            // Not `servers(…)` itself: requests borrow their client.
            servers((0..KEYS).map(one).collect())
        };
        let before = all(&shop.far);
        assert_eq!(all(&shop.far), before);
        // What is hashed does not depend on who asks: every node finds the same.
        assert_eq!(all(&shop.near), before);
        let mut shares = BTreeMap::<_, usize>::new();
        for server in &before {
            *shares.entry(server.as_str()).or_default() += 1;
        }
        assert_eq!(shares.len(), 3, "{shares:?}");
        assert!(
            shares.values().all(|&count| count >= KEYS / 6),
            "{shares:?}"
        );

        service.set_pods(&[&shop.pods[0], &shop.pods[2]]);
        let orphan = before.iter().position(|server| server == "v2").unwrap();
        ask(&shop.far, service, &format!("GET / x-user:{orphan}")).until("v2 is out", |answer| {
            answer.status == 200 && answer.server() != "v2"
        });
        let after = all(&shop.far);
        let (mut staying, mut kept) = (0, 0);
        for (before, after) in before
            .iter()
            .zip(&after)
            .filter(|(before, _)| *before != "v2")
        {
            staying += 1;
            kept += usize::from(before == after);
        }
        assert!(
            kept * 100 >= staying * kept_percent,
            "{}: {kept} of {staying} stayed",
            service.name
        );
        // It comes back to its own.
        service.set_pods(&shop.pods.iter().collect::<Vec<_>>());
        ask(&shop.far, service, &format!("GET / x-user:{orphan}"))
            .until("v2 is back", |answer| answer.is_from("v2"));
        assert_eq!(all(&shop.far), before);
    }
}

#[test]
fn cookies_and_sources_are_keys_too() {
    let shop = Shop::of(3);
    let cookie = shop.service("cookie", hashing("ring-hash", json!({"cookie": "session"})));
    let source = shop.service("source", hashing("maglev", json!({"source": "address"})));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let all = || {
            let one = |key| {
                let line = format!("GET / cookie:a=b;session={key};c=d");
                ask(client, &cookie, &line)
            };
            servers((0..40).map(one).collect())
        };
        let first = all();
        assert_eq!(all(), first);
        assert!(
            ["v1", "v2", "v3"]
                .iter()
                .all(|pod| first.iter().any(|server| server == pod))
        );
        // What has no key goes to any of them.
        let any = tally(&shop.many(client, &cookie, 100));
        assert_eq!(any.len(), 3, "{any:?}");
        // One pod is one source, whatever its connection.
        let own: Vec<_> = (0..10)
            .map(|_| ask(client, &source, "GET /").send().server())
            .collect();
        assert!(own.iter().all(|server| *server == own[0]), "{own:?}");
    }
}

#[test]
fn a_new_endpoint_starts_slowly() {
    let shop = Shop::of(3);
    let policy = json!({
        "loadBalancer": {"algorithm": "round-robin", "slowStart": "4s"},
        "circuitBreaker": never_opens(),
    });
    let first: Vec<_> = shop.pods.iter().take(2).collect();
    let web = shop.service_of("web", &first, policy);
    shop.mesh.start_agents();

    // Who was there at the beginning is not new.
    let even = tally(&shop.many(&shop.far, &web, 100));
    assert_eq!((even["v1"], even["v2"]), (50, 50));
    web.set_pods(&shop.pods.iter().collect::<Vec<_>>());
    let load = shop.far.http_load(web.v4, 150);
    eventually("the new one is asked", SOON, || {
        let report = load.report();
        (report.from("v3") >= 1).then_some(()).ok_or(report)
    });
    let start = load.report();
    load.wait_for_more(100);
    let early = load.report();
    let share = |from: &weir_tests::LoadReport, to: &weir_tests::LoadReport| {
        let all = to.answers("200") - from.answers("200");
        let new = to.from("v3") - from.from("v3");
        100.0 * new as f64 / all as f64
    };
    let at_first = share(&start, &early);
    assert!(at_first <= 20.0, "{at_first} % at first");
    // 4 s are 600 requests.
    load.wait_for_more(600);
    let late = load.report();
    load.wait_for_more(150);
    let at_last = share(&late, &load.report());
    assert!(at_last >= 28.0, "{at_last} % at last");
    assert!(load.stop().is_all_well());
}
