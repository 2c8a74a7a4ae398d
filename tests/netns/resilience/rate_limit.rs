//! `rateLimit`: at the destination, for whatever reaches a pod of the Service.

use serde_json::{Value, json};
use weir_tests::{Answer, Mesh, Pod, Proc, ServiceHandle, eventually, manifests};

use super::{SOON, expect_metric, never_opens, no_retries, tally};
use crate::http::ask;

const LIMITED: &str = "weir_rate_limited_total";
/// So slow that nothing is added while a test looks.
const SLOWLY: &str = "1h";

/// A service `web` of one endpoint with these limits, and three clients: one each on another node, on the
/// endpoint's, and outside of the mesh.
struct Limited {
    far: Pod,
    near: Pod,
    outside: Pod,
    v1: Pod,
    app: Proc,
    web: ServiceHandle,
    mesh: Mesh,
}

impl Limited {
    fn new(limits: Value) -> Self {
        Self::speaking("http", limits, |pod| pod.http(8080))
    }

    fn speaking(protocol: &str, limits: Value, start: impl Fn(&Pod) -> Proc) -> Self {
        let mesh = Mesh::new(2);
        let [far, near, v1] = [("far", "n1"), ("near", "n2"), ("v1", "n2")]
            .map(|(name, node)| mesh.pod(name, node).enrolled());
        let outside = mesh.outside("outside");
        let app = start(&v1);
        let web = mesh.new_service("web").port(80, 8080, protocol).of(&[&v1]);
        let limited = Self {
            far,
            near,
            outside,
            v1,
            app,
            web,
            mesh,
        };
        limited.limit(limits);
        limited.mesh.start_agents();
        limited
    }

    fn limit(&self, limits: Value) {
        let spec = json!({
            "rateLimit": limits,
            "retries": no_retries(),
            "circuitBreaker": never_opens(),
        });
        let target = manifests::parent("web");
        self.mesh
            .apply(&manifests::traffic_policy("shop", "web", target, &spec));
    }

    fn many(&self, client: &Pod, line: &str, count: usize) -> Vec<Answer> {
        ask(client, &self.web, line).times(count).send_all()
    }
}

/// How many were served, and how many were not for their rate.
#[track_caller]
fn served_and_limited(answers: &[Answer]) -> (usize, usize) {
    let tally = tally(answers);
    let of = |kind: &str| tally.get(kind).copied().unwrap_or(0);
    let both = (of("v1"), of("429 rate_limited"));
    assert_eq!(both.0 + both.1, answers.len(), "{tally:?}");
    both
}

#[test]
fn what_is_over_the_rate_is_told_when_to_come_again() {
    let limited = Limited::new(json!([{"requests": 60, "per": "1m", "burst": 10}]));
    let answers = limited.many(&limited.far, "GET /", 30);
    let (served, refused) = served_and_limited(&answers);
    assert!((10..=13).contains(&served), "{served} served");
    assert!(answers[..10].iter().all(|answer| answer.status == 200));
    assert_eq!(limited.app.counted("requests"), served as u64);
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    }
    let agent = limited.mesh.agent_of(&limited.v1);
    expect_metric(&agent, LIMITED, &[], refused as u64);
    agent.expect_logged(&["rate_limited"]);
    limited
        .mesh
        .expect_requests(&limited.far, &limited.v1, 429, &[], refused as u32);
    // One a second.
    ask(&limited.far, &limited.web, "GET /")
        .until("there is one again", |answer| answer.is_from("v1"));
}

/// One bucket for all of them, whichever way they come.
#[test]
fn every_way_to_the_pod_is_limited() {
    let limited = Limited::new(json!([{"requests": 20, "per": SLOWLY}]));
    let direct = limited.v1.v4(8080);
    let mut answers = Vec::new();
    for client in [&limited.far, &limited.near] {
        answers.extend(limited.many(client, "GET /", 4));
        answers.extend(client.request(direct, "/").times(4).send_all());
    }
    answers.push(ask(&limited.far, &limited.web, "GET /").h2().send());
    answers.extend(limited.outside.request(direct, "/").times(3).send_all());
    assert_eq!(served_and_limited(&answers), (20, 0));
    for client in [&limited.far, &limited.near] {
        assert_eq!(
            served_and_limited(&limited.many(client, "GET /", 2)),
            (0, 2)
        );
        let answer = client.get(direct, "/");
        assert_eq!(
            (answer.status, answer.reason()),
            (429, Some("rate_limited"))
        );
        let after = answer.header("retry-after").unwrap_or_default();
        assert!(
            after
                .parse::<u64>()
                .is_ok_and(|after| (100..=180).contains(&after)),
            "{answer:?}"
        );
    }
    assert_eq!(limited.outside.get(direct, "/").status, 429);
    assert_eq!(limited.app.counted("requests"), 20);
}

#[test]
fn each_caller_has_a_limit_of_its_own() {
    let limited = Limited::new(json!([
        {"requests": 5, "per": SLOWLY, "by": {"source": "identity"}},
    ]));
    assert_eq!(
        served_and_limited(&limited.many(&limited.far, "GET /", 10)),
        (5, 5)
    );
    assert_eq!(
        served_and_limited(&limited.many(&limited.near, "GET /", 10)),
        (5, 5)
    );
    let outside = limited.outside.request(limited.v1.v4(8080), "/").times(10);
    assert_eq!(served_and_limited(&outside.send_all()), (5, 5));
}

/// Every limit of the list, and what one of them refuses costs the others nothing.
#[test]
fn headers_have_limits_and_limits_add_up() {
    let limited = Limited::new(json!([
        {"requests": 3, "per": SLOWLY, "by": {"header": "x-user"}},
        {"requests": 10, "per": SLOWLY},
    ]));
    for (user, wanted) in [("ada", (3, 3)), ("bob", (3, 3))] {
        let line = format!("GET / x-user:{user}");
        let answers = limited.many(&limited.far, &line, 6);
        assert_eq!(served_and_limited(&answers), wanted, "{user}");
    }
    // Those without it share one.
    assert_eq!(
        served_and_limited(&limited.many(&limited.far, "GET /", 6)),
        (3, 3)
    );
    // Nine of the ten are gone.
    let answers = limited.many(&limited.near, "GET / x-user:eve", 6);
    assert_eq!(served_and_limited(&answers), (1, 5));
}

#[test]
fn a_limit_comes_and_goes_with_its_policy() {
    let limited = Limited::new(json!([{"requests": 1, "per": SLOWLY}]));
    assert_eq!(
        served_and_limited(&limited.many(&limited.far, "GET /", 4)),
        (1, 3)
    );
    limited.limit(json!([]));
    ask(&limited.far, &limited.web, "GET /").until("it is gone", |answer| answer.is_from("v1"));
    assert_eq!(
        served_and_limited(&limited.many(&limited.far, "GET /", 20)),
        (20, 0)
    );
}

#[test]
fn grpc_calls_are_told_in_their_own_way() {
    let limited = Limited::speaking("grpc", json!([{"requests": 2, "per": SLOWLY}]), |pod| {
        pod.grpc(8080)
    });
    let calls = limited
        .far
        .call(limited.web.v4, "/shop.Cart/Unary")
        .send_all(4);
    let codes: Vec<_> = calls.iter().map(weir_tests::Call::code).collect();
    // gRPC's mapping of 429 to a status code is UNAVAILABLE.
    assert_eq!(codes[..2], ["OK", "OK"]);
    assert!(
        codes[2..]
            .iter()
            .all(|code| ["UNAVAILABLE", "RESOURCE_EXHAUSTED"].contains(code)),
        "{codes:?}"
    );
    let details = calls[3].0["details"].as_str().unwrap_or_default();
    assert!(details.contains("rate_limited"), "{details}");
}

/// What is no HTTP is limited by its connections.
#[test]
fn opaque_connections_over_the_rate_are_reset() {
    let limited = Limited::speaking("tcp", json!([{"requests": 5, "per": SLOWLY}]), |pod| {
        pod.serve("echo", 8080)
    });
    for _ in 0..3 {
        limited.far.expect_echo(limited.web.v4);
    }
    limited.near.expect_echo(limited.web.v4);
    limited.near.expect_echo(limited.v1.v4(8080));
    for client in [&limited.far, &limited.near, &limited.outside] {
        let addr = if client.node().is_some() {
            limited.web.v4
        } else {
            limited.v1.v4(8080)
        };
        let talk = client.hello(addr);
        assert!(talk.is_refused(), "{}: {talk:?}", client.name());
    }
    let agent = limited.mesh.agent_of(&limited.v1);
    expect_metric(&agent, LIMITED, &[], 3);
    agent.expect_logged(&["rate_limited"]);
    eventually("no more than five were accepted", SOON, || {
        let accepted = limited.app.count("accepted");
        (accepted == 5).then_some(()).ok_or(accepted)
    });
}
