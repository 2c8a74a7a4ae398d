//! The guides' manifests, as they are printed, in a mesh with the services that they name.

use std::fs;

use weir_tests::{
    Mesh, Pod, Proc, ServiceHandle,
    manifests::{self, Endpoint, Port},
};

use super::{ask, outcome, seen};

/// The YAML blocks of a guide, in order.
pub(crate) fn blocks(guide: &str) -> Vec<String> {
    let path = format!("{}/../docs/guides/{guide}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let parts = text.split("\n```yaml\n").skip(1);
    parts
        .filter_map(|part| {
            part.split("\n```\n")
                .next()
                .map(|block| format!("{block}\n"))
        })
        .collect()
}

/// The shop of the guides: `web` with two versions, each with a Service of its own.
struct Guide {
    far: Pod,
    near: Pod,
    apps: [Proc; 2],
    web: ServiceHandle,
    steps: Vec<String>,
    mesh: Mesh,
}

impl Guide {
    /// The agents run, with the guide's first manifest.
    fn new(guide: &str) -> Self {
        let mesh = Mesh::new(2);
        let [far, near, v1, v2] = [
            ("far", "n1"),
            ("near", "n2"),
            ("web-v1", "n2"),
            ("web-v2", "n2"),
        ]
        .map(|(name, node)| mesh.pod(name, node).enrolled());
        let apps = [v1.http(8080), v2.http(8080)];
        let web = mesh.http_service("web", &[&v1, &v2]);
        mesh.http_service("web-v1", &[&v1]);
        mesh.http_service("web-v2", &[&v2]);
        let guide = Self {
            far,
            near,
            apps,
            web,
            steps: blocks(guide),
            mesh,
        };
        guide.step(0);
        guide
    }

    /// Puts the guide's manifest of this number in place of the one before.
    fn step(&self, number: usize) {
        self.mesh
            .manifests()
            .write("guide.yaml", &self.steps[number]);
    }

    fn clients(&self) -> [&Pod; 2] {
        [&self.far, &self.near]
    }

    /// How many of 1,000 requests the second version got.
    fn share_of_v2(&self, client: &Pod) -> usize {
        let answers = ask(client, &self.web, "GET /").times(1_000).send_all();
        assert!(answers.iter().all(|answer| answer.status == 200));
        answers
            .iter()
            .filter(|answer| answer.is_from("web-v2"))
            .count()
    }
}

#[test]
fn canary() {
    let guide = Guide::new("canary.md");
    guide.mesh.start_agents();
    for client in guide.clients() {
        // 10 %: five standard deviations either side.
        let share = guide.share_of_v2(client);
        assert!((52..=148).contains(&share), "{share} of 1,000");
    }
    // Testers see it always, others never.
    guide.step(1);
    for client in guide.clients() {
        let tester = ask(client, &guide.web, "GET / x-canary:always");
        // One answer of it says nothing: the rule before sends every tenth request there.
        let tester = tester.times(30);
        weir_tests::eventually(
            "the tester's rule",
            std::time::Duration::from_secs(10),
            || {
                let tests = tester.clone().send_all();
                let is_met = tests.iter().all(|answer| answer.is_from("web-v2"));
                is_met.then_some(()).ok_or(tests)
            },
        );
        let share = guide.share_of_v2(client);
        assert!((52..=148).contains(&share), "{share} of 1,000");
    }
    // A person stays with the version that they got.
    guide.step(2);
    for client in guide.clients() {
        let first = ask(client, &guide.web, "GET /");
        let first = first.until("a session", |answer| answer.header("set-cookie").is_some());
        let cookie = first.header("set-cookie").unwrap_or_default();
        let cookie = cookie.split(';').next().unwrap_or_default();
        let visits = ask(client, &guide.web, "GET /")
            .header("cookie", cookie)
            .times(30)
            .send_all();
        assert!(visits.iter().all(|answer| answer.is_from(&first.server())));
    }
}

#[test]
fn ab_testing() {
    let guide = Guide::new("ab-testing.md");
    guide.mesh.start_agents();
    let check = |cases: &[(&str, &str)]| {
        for client in guide.clients() {
            for (line, wanted) in cases {
                let answers = ask(client, &guide.web, line).times(10).send_all();
                assert!(
                    answers.iter().all(|answer| outcome(answer) == *wanted),
                    "{line}: {answers:?}"
                );
            }
        }
    };
    check(&[
        ("GET / x-variant:b", "web-v2"),
        ("GET / x-variant:a", "web-v1"),
        ("GET /", "web-v1"),
    ]);
    guide.step(1);
    for client in guide.clients() {
        ask(client, &guide.web, "GET / cookie:variant=b")
            .until("the cookie's rule", |a| a.is_from("web-v2"));
    }
    check(&[
        ("GET / cookie:variant=b", "web-v2"),
        ("GET / cookie:theme=dark;variant=b;lang=en", "web-v2"),
        ("GET / cookie:variant=a", "web-v1"),
        ("GET / cookie:variant=bb", "web-v1"),
        ("GET / cookie:my-variant=b", "web-v1"),
        ("GET / x-variant:b", "web-v1"),
        ("GET /", "web-v1"),
    ]);
    // The two can be compared in one query.
    let agent = guide.mesh.agent_of(&guide.far);
    weir_tests::eventually(
        "durations by backend",
        std::time::Duration::from_secs(5),
        || {
            let metrics = agent.metrics();
            let name = "weir_route_request_duration_milliseconds_count";
            let backends: std::collections::BTreeSet<_> = metrics
                .find(name, &[("route", "HTTPRoute/shop/web")])
                .filter_map(|sample| sample.labels.get("backend").cloned())
                .collect();
            (backends.len() == 2)
                .then_some(())
                .ok_or(format!("{:#?}", metrics.starting_with(name)))
        },
    );
}

#[test]
fn shadow_traffic() {
    let guide = Guide::new("shadow-traffic.md");
    guide.mesh.start_agents();
    let copies = || guide.apps[1].count("received");
    for client in guide.clients() {
        assert_eq!(guide.share_of_v2(client), 0, "nobody sees its answers");
    }
    // 10 % of 2,000.
    weir_tests::eventually("a tenth arrives", std::time::Duration::from_secs(5), || {
        (133..=267)
            .contains(&copies())
            .then_some(())
            .ok_or_else(copies)
    });
}

#[test]
fn routing() {
    let guide = Guide::new("routing.md");
    let consumer = guide
        .mesh
        .pod("consumer", "n1")
        .namespace("reports")
        .enrolled();
    guide.mesh.apply(&manifests::namespace("reports", None));
    guide.mesh.start_agents();
    for client in guide.clients() {
        let old = ask(client, &guide.web, "GET /old/page?x=1")
            .host("web")
            .send();
        assert_eq!(
            (old.status, old.header("location")),
            (301, Some("http://web/new/page?x=1"))
        );
        let api = ask(client, &guide.web, "GET /api/items").send();
        assert_eq!(
            (outcome(&api), api.report()["path"].as_str()),
            ("web-v2".to_owned(), Some("/items"))
        );
        assert_eq!(seen(&api, "x-served-by").as_deref(), Some("api"));
        let slow = ask(client, &guide.web, "GET /api/items?delay=3s").send();
        assert_eq!(outcome(&slow), "504 request_timeout");
        assert_eq!(
            outcome(&ask(client, &guide.web, "GET /any").send()),
            "web-v1"
        );
    }
    guide
        .mesh
        .manifests()
        .write("consumer.yaml", &guide.steps[1]);
    let slow = ask(&consumer, &guide.web, "GET /?delay=2s");
    slow.until("the consumer's route", |answer| {
        outcome(answer) == "504 request_timeout"
    });
    let patient = ask(&guide.far, &guide.web, "GET /?delay=1500ms").send();
    assert_eq!(outcome(&patient), "web-v1", "others are not touched");
}

#[test]
fn http() {
    let guide = Guide::new("http.md");
    // The guide's Service, with its address; its endpoints are the cluster's business.
    let port = Port {
        name: "web".into(),
        port: 80,
        target: 8080,
        app_protocol: None,
    };
    let v1 = guide.mesh.pod("checkout", "n2").enrolled();
    let _app = v1.http(8080);
    let endpoint = Endpoint {
        pod: Some("checkout".into()),
        node: Some("n2".into()),
        ..Endpoint::from(v1.ipv4())
    };
    guide.mesh.apply(&manifests::endpoint_slice(
        "shop",
        "checkout",
        &[port],
        false,
        &[endpoint],
    ));
    guide.mesh.start_agents();
    for client in guide.clients() {
        let addr = "10.96.0.200:80".parse().unwrap();
        let answers = [client.get(addr, "/"), client.request(addr, "/").h2().send()];
        assert!(
            answers.iter().all(|answer| answer.is_from("checkout")),
            "{answers:?}"
        );
        let refused = client.request(addr, "/").header("host", "a@b").send();
        assert_eq!(outcome(&refused), "400 bad_request");
    }
    guide.mesh.expect_requests(&guide.far, &v1, 200, &[], 2);
}
