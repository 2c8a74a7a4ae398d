//! The guides' policies, as they are printed, on the service that they name: what each page promises.

use std::time::Duration;

use weir_tests::{
    Answer, Pod, Proc, Request, ServiceHandle, eventually,
    manifests::{self, Endpoint, Port},
};

use super::{SLACK, SOON, Shop, assert_all_well, expect_metric, tally};
use crate::http::{ask, guides::blocks, outcome};

/// The service `web` of the guides.
struct Guide {
    shop: Shop,
    web: ServiceHandle,
    steps: Vec<String>,
}

impl Guide {
    /// With the guide's first manifest; the agents do not run yet.
    fn new(guide: &str, endpoints: usize) -> Self {
        let shop = Shop::of(endpoints);
        let web = shop.without_policy("web", &shop.pods.iter().collect::<Vec<_>>());
        let guide = Self {
            shop,
            web,
            steps: blocks(guide),
        };
        guide.step(0);
        guide
    }

    /// The same, and the agents run.
    fn running(guide: &str, endpoints: usize) -> Self {
        let guide = Self::new(guide, endpoints);
        guide.shop.mesh.start_agents();
        guide
    }

    /// Puts the guide's manifest of this number in place of the one before.
    fn step(&self, number: usize) {
        let manifest = &self.steps[number];
        self.shop.mesh.manifests().write("guide.yaml", manifest);
    }

    /// From `far`.
    fn ask(&self, line: &str) -> Request<'_> {
        ask(&self.shop.far, &self.web, line)
    }

    fn many(&self, client: &Pod, count: usize) -> Vec<Answer> {
        self.shop.many(client, &self.web, count)
    }

    /// Requests that stay with their application until they are dropped.
    fn hang(&self, count: usize) -> Vec<Proc> {
        let hanging = (0..count).map(|_| self.ask("GET /?hang").start());
        hanging.collect()
    }

    /// What people see on the client's node.
    fn status(&self) -> String {
        let status = self.shop.mesh.weir("n1", &["status"]);
        status.run().expect_ok()
    }

    /// Whether `weir status` says this of that pod.
    #[track_caller]
    fn expect_status(&self, pod: &Pod, word: &str) {
        let address = pod.ipv4().to_string();
        eventually(&format!("{} is {word}", pod.name()), SOON, || {
            let status = self.status();
            let mut lines = status.lines();
            let told = lines.any(|line| line.contains(&address) && line.contains(word));
            told.then_some(()).ok_or(status)
        });
    }
}

#[track_caller]
fn assert_after(answer: &Answer, millis: u64) {
    let after = Duration::from_millis(millis);
    assert!(
        (after..after + SLACK).contains(&answer.took),
        "not after {after:?}: {answer:?}"
    );
}

#[test]
fn resilience() {
    let guide = Guide::running("resilience.md", 3);
    let [v1, v2, v3] = [0, 1, 2].map(|app| &guide.shop.apps[app]);
    // Who fails, or hangs, is not noticed.
    v1.order("answer status=503");
    v2.order("answer next=1 hang");
    for _ in 0..6 {
        let answer = guide.ask("GET /").send();
        assert!(answer.is_from("v2") || answer.is_from("v3"), "{answer:?}");
        assert!(answer.took < Duration::from_millis(500) + SLACK);
    }
    // All fail: who asked before gets what there was then.
    let fresh = guide.ask("GET /news").send();
    assert_eq!(fresh.status, 200, "{fresh:?}");
    for app in [v1, v2, v3] {
        app.order("answer status=503");
    }
    let stale = guide.ask("GET /news").send();
    assert_eq!(
        (stale.status, stale.header("cache-status")),
        (200, Some("weir; hit; fwd=stale"))
    );
    assert_eq!(stale.body, fresh.body);
    guide.shop.order("answer");
    guide.ask("GET /?late").until("they are well", |answer| {
        answer.status == 200 && answer.header("cache-status").is_none()
    });
    // 100 a second, and 20 at once.
    let flags = ["--count", "200"];
    let greedy = guide.shop.near.http_load_with(&flags, guide.web.v4, 400);
    let report = greedy.stop();
    assert!(report.answers("429 rate_limited") >= 20, "{report:?}");
    assert!(report.answers("200") >= 20, "{report:?}");

    // A word on a rule is for that rule.
    guide.step(1);
    let slow = guide.ask("GET /search?delay=600ms");
    let slow = slow.until("the rule's policy", |answer| {
        outcome(answer) == "504 request_timeout"
    });
    assert_after(&slow, 300);
    let other = guide.ask("GET /?delay=600ms").send();
    assert_eq!(other.status, 200, "{other:?}");
}

#[test]
fn timeouts() {
    let guide = Guide::running("timeouts.md", 1);
    let cancelled = |at_least: u64| {
        eventually("the application is told", SOON, || {
            let cancelled = guide.shop.apps[0].counted("cancelled");
            (cancelled >= at_least).then_some(()).ok_or(cancelled)
        });
    };
    let late = guide.ask("GET /?hang").send();
    assert_eq!(outcome(&late), "504 request_timeout");
    assert_after(&late, 1000);
    cancelled(1);
    // The rule's own word.
    guide.step(1);
    let late = guide.ask("GET /search?hang");
    let late = late.until("the rule's time-out", |answer| {
        answer.took < Duration::from_millis(900)
    });
    assert_eq!(outcome(&late), "504 request_timeout");
    assert_after(&late, 300);
    // Who closes its side while it waits has gone: nothing else ends this one.
    guide.shop.forget();
    let head = "send:GET /?hang HTTP/1.1\r\nhost: web\r\n\r\n";
    let steps = [head, "wait", "eof", "drain"];
    let client = guide.shop.far.talker(&[], guide.web.v4, &steps);
    eventually("it is at work", SOON, || {
        let at_work = guide.shop.counts();
        (at_work == [1]).then_some(()).ok_or(at_work)
    });
    client.tell("go on");
    cancelled(1);
}

#[test]
fn retries() {
    let guide = Guide::running("retries.md", 3);
    guide.shop.apps[0].order("answer status=503");
    for client in guide.shop.clients() {
        assert_all_well(&guide.many(client, 60));
        let agent = guide.shop.mesh.agent_of(client);
        let outcome = [("outcome", "succeeded")];
        expect_metric(&agent, "weir_retries_total", &outcome, 1);
    }
    let depths = guide.shop.apps.iter().skip(1).map(|app| {
        let counts = app.order("counts");
        counts["by_header"]["x-weir-retry-depth"].clone()
    });
    let depths: Vec<_> = depths.collect();
    assert!(depths.iter().any(|depth| !depth.is_null()), "{depths:?}");
    // What may have been done is not done again.
    guide.shop.order("answer reset");
    guide.shop.forget();
    let post = guide.ask("POST /").send();
    assert_eq!(outcome(&post), "502 upstream_reset");
    assert_eq!(guide.shop.counts().iter().sum::<u64>(), 1);
    // A rule's own: no policy names 429.
    guide.step(1);
    eventually("the rule's retries", SOON, || {
        guide.shop.order("answer next=1 status=429");
        let answer = guide.ask("GET /").send();
        (answer.status == 200)
            .then_some(())
            .ok_or_else(|| format!("{answer:?}"))
    });
}

#[test]
fn connection_limits() {
    let guide = Guide::running("connection-limits.md", 1);
    let held = guide.hang(10);
    let agent = guide.shop.mesh.agent_of(&guide.shop.far);
    for (metric, wanted) in [
        ("weir_pool_connections", 8),
        ("weir_pool_pending_requests", 2),
        ("weir_pool_requests", 10),
    ] {
        expect_metric(&agent, metric, &[], wanted);
    }
    assert_eq!(guide.shop.counts(), [8]);
    let refused = guide.many(&guide.shop.far, 10);
    assert_eq!(tally(&refused)["503 pool_full"], 10);
    let status = guide.status();
    assert!(status.contains("10 of 10"), "{status}");
    // Each node has its own count.
    assert!(
        ask(&guide.shop.near, &guide.web, "GET /")
            .send()
            .is_from("v1")
    );
    drop(held);
    guide
        .ask("GET /")
        .until("there is room again", |answer| answer.is_from("v1"));
}

#[test]
fn circuit_breaking() {
    let guide = Guide::running("circuit-breaking.md", 2);
    let v1 = &guide.shop.apps[0];
    v1.order("answer status=503");
    let opened = || {
        let agent = guide.shop.mesh.agent_of(&guide.shop.far);
        agent.metric("weir_breaker_transitions_total", &[("to", "open")]) > 0.0
    };
    let mut failed = 0;
    eventually("it opens", SOON, || {
        let answers = guide.many(&guide.shop.far, 5);
        failed += answers.iter().filter(|answer| answer.status != 200).count();
        opened().then_some(()).ok_or(failed)
    });
    assert_eq!(failed, 5);
    guide.expect_status(&guide.shop.pods[0], "open");
    v1.order("answer");
    // While it is open nobody notices; then it is found to be well.
    eventually("it is used again", SOON, || {
        let answers = guide.many(&guide.shop.far, 10);
        assert_all_well(&answers);
        let seen = tally(&answers);
        seen.contains_key("v1").then_some(()).ok_or(seen)
    });
    // All of them.
    guide.shop.order("answer status=503");
    let open = guide.ask("GET /").until("all are open", |answer| {
        outcome(answer) == "503 breaker_open"
    });
    let after = open.header("retry-after").map(str::parse::<u64>);
    assert!(matches!(after, Some(Ok(1..=2))), "{open:?}");
    assert!(open.took < Duration::from_millis(200), "{open:?}");
}

#[test]
fn stale_answers() {
    let guide = Guide::running("stale-answers.md", 1);
    let fresh = guide.ask("GET /news").send();
    guide.ask("GET /private?set=cache-control:private").send();
    guide.shop.order("answer status=503");
    let stale = guide.ask("GET /news").send();
    assert_eq!((stale.status, &stale.body), (200, &fresh.body));
    assert_eq!(
        stale.header("cache-status"),
        Some("weir; hit; fwd=stale"),
        "{stale:?}"
    );
    assert!(stale.header("age").is_some());
    let private = "GET /private?set=cache-control:private";
    for line in ["POST /news", "GET /other", private] {
        assert_eq!(guide.ask(line).send().status, 503, "{line}");
    }
    // It is for who got it.
    let other = ask(&guide.shop.near, &guide.web, "GET /news").send();
    assert_eq!(other.status, 503, "{other:?}");
    let agent = guide.shop.mesh.agent_of(&guide.shop.far);
    expect_metric(&agent, "weir_stale_answers_total", &[], 1);
}

#[test]
fn load_balancing() {
    let guide = Guide::new("load-balancing.md", 3);
    let shop = &guide.shop;
    for (node, zone) in [("n1", "a"), ("n2", "b")] {
        shop.mesh.apply(&manifests::node(node, zone));
    }
    shop.mesh.start_agents();
    shop.apps[0].order("answer delay=150ms");
    let flags = ["--count", "150"];
    let report = shop.far.http_load_with(&flags, guide.web.v4, 150).stop();
    assert!(report.is_all_well(), "{report:?}");
    assert!(report.from("v1") <= 25, "{report:?}");
    shop.order("answer");

    // One user, one pod, whoever asks; and not all of them the same.
    guide.step(1);
    let server = |client: &Pod, user: usize| {
        let line = format!("GET / x-user:{user}");
        ask(client, &guide.web, &line).send().server()
    };
    let of_users = |client: &Pod| (0..12).map(|user| server(client, user)).collect::<Vec<_>>();
    eventually("users are bound", SOON, || {
        let seen = of_users(&shop.far);
        let others = [of_users(&shop.far), of_users(&shop.near)];
        let bound = others.iter().all(|other| *other == seen);
        bound.then_some(()).ok_or(others)
    });
    let mut servers = of_users(&shop.far);
    servers.sort_unstable();
    servers.dedup();
    assert!(servers.len() >= 2, "{servers:?}");

    // The near one. The guide's Service has its address; its endpoints are the cluster's business.
    let port = Port {
        name: "http-web".into(),
        port: 80,
        target: 8080,
        app_protocol: None,
    };
    let zoned = |pod: &Pod, zone: &str| Endpoint::from(pod.ipv4()).in_zone(zone);
    // Not the slow one, for which the far ones would help out.
    let endpoints = [zoned(&shop.pods[1], "a"), zoned(&shop.pods[2], "b")];
    let slice = manifests::endpoint_slice("shop", "catalog", &[port], false, &endpoints);
    shop.mesh.apply(&slice);
    guide.step(2);
    for (client, near) in [(&shop.far, "v2"), (&shop.near, "v3")] {
        let catalog = client.request("10.96.0.201:80".parse().unwrap(), "/");
        catalog.until("the catalog is there", |answer| answer.status == 200);
        let seen = tally(&catalog.times(20).send_all());
        assert_eq!(seen.get(near), Some(&20), "{seen:?}");
    }
}

#[test]
fn health_checks() {
    let guide = Guide::running("health-checks.md", 2);
    let [v1, v2] = [0, 1].map(|app| &guide.shop.apps[app]);
    assert_eq!(tally(&guide.many(&guide.shop.far, 40)).len(), 2);
    let alone = |server: &str| {
        eventually(&format!("{server} gets everything"), SOON, || {
            let seen = tally(&guide.many(&guide.shop.far, 30));
            (seen.get(server) == Some(&30)).then_some(()).ok_or(seen)
        });
    };
    v1.order("answer path=/healthz status=500");
    alone("v2");
    guide.expect_status(&guide.shop.pods[0], "failing");
    // It is well again, and now the other one is not.
    v1.order("answer path=/healthz");
    eventually("it passes", SOON, || {
        let status = guide.status();
        let passes = !status.contains("failing");
        passes.then_some(()).ok_or(status)
    });
    v2.order("answer path=/healthz status=500");
    alone("v1");
}

#[test]
fn rate_limiting() {
    let guide = Guide::running("rate-limiting.md", 1);
    for client in guide.shop.clients() {
        let answers = guide.many(client, 30);
        let (served, limited) = answers.split_at(20);
        assert!(served.iter().all(|answer| answer.is_from("v1")));
        let refused = limited.iter().filter(|answer| answer.status == 429);
        assert!(refused.count() >= 6, "{:?}", tally(limited));
        let refused = limited.iter().find(|answer| answer.status == 429).unwrap();
        assert_eq!(
            (outcome(refused).as_str(), refused.header("retry-after")),
            ("429 rate_limited", Some("1"))
        );
        // By the pod's own address it is the same bucket.
        let direct = client.request(guide.shop.pods[0].v4(8080), "/");
        let direct = tally(&direct.times(4).send_all());
        assert!(direct["429 rate_limited"] >= 2, "{direct:?}");
    }
    guide
        .ask("GET /")
        .until("one a second", |answer| answer.is_from("v1"));
}

#[test]
fn concurrency() {
    let guide = Guide::running("concurrency.md", 1);
    let working = guide.hang(4);
    eventually("it is at work", SOON, || {
        let at_work = guide.shop.counts();
        (at_work == [4]).then_some(()).ok_or(at_work)
    });
    let waiting: Vec<_> = (0..8).map(|_| guide.ask("GET /").start()).collect();
    let agent = guide.shop.mesh.agent_of(&guide.shop.pods[0]);
    expect_metric(&agent, "weir_concurrency_queue", &[], 8);
    let shed = guide.many(&guide.shop.near, 10);
    assert_eq!(tally(&shed)["503 overloaded"], 10);
    assert_eq!(guide.shop.counts(), [4]);
    drop(working);
    for request in waiting {
        let answers = Answer::read_all(&request.finish().stdout);
        assert_eq!(tally(&answers)["v1"], 1, "{answers:?}");
    }
}

#[test]
fn fault_injection() {
    let guide = Guide::running("fault-injection.md", 1);
    let seen = tally(&guide.many(&guide.shop.far, 1_000));
    // 10 %: five standard deviations either side.
    let aborted = seen["503 fault_injected"];
    assert!((52..=148).contains(&aborted), "{seen:?}");
    assert_eq!(seen["v1"] + aborted, 1_000, "{seen:?}");
    assert_eq!(guide.shop.counts(), [1_000 - aborted as u64]);
    let slow = guide.ask("GET / x-test:slow").send();
    assert_after(&slow, 400);
}

#[test]
fn rollouts() {
    let guide = Guide::running("rollouts.md", 2);
    let [old, new] = [0, 1].map(|pod| &guide.shop.pods[pod]);
    let served = |pod: &Pod, least: u64, load: &weir_tests::HttpLoad| {
        eventually(&format!("{} serves", pod.name()), SOON, || {
            let report = load.report();
            (report.from(pod.name()) >= least)
                .then_some(())
                .ok_or(report)
        });
    };
    guide.web.set_pods(&[old]);
    guide
        .ask("GET /")
        .until("the old one alone", |answer| answer.is_from("v1"));
    let load = guide.shop.far.http_load(guide.web.v4, 150);
    load.wait_for_more(30);
    guide.web.set_pods(&[old, new]);
    served(new, 3, &load);
    // The old one drains: it is asked no more, and serves to the end what it is at.
    let last = guide.ask("GET /?delay=1s").times(2).start();
    let leaving = old.endpoints().map(Endpoint::terminating);
    let endpoints: Vec<_> = new.endpoints().into_iter().chain(leaving).collect();
    guide.web.set_endpoints(&endpoints);
    eventually("it drains", SOON, || {
        let asked = || guide.shop.apps[0].counted("requests");
        let before = asked();
        load.wait_for_more(30);
        (asked() == before).then_some(()).ok_or(before)
    });
    guide.web.set_pods(&[new]);
    load.wait_for_more(30);
    let report = load.stop();
    assert!(report.is_all_well(), "{report:?}");
    assert_all_well(&Answer::read_all(&last.finish().stdout));
}
