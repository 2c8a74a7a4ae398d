//! What is told of a request: metrics with both identities, the access log, the trace that goes on.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::eventually;

use super::{Shop, all_to, ask, seen};

#[test]
fn each_request_is_counted_and_logged() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();

    for client in shop.clients() {
        ask(client, &web, "GET /ok?token=secret")
            .times(3)
            .send_all();
        ask(client, &web, "POST /ok?status=503").h2().send();
    }
    // Both agents tell both ends; on one node nothing was protected on a wire (decision 0003).
    let labels = |policy: &'static str| {
        [
            ("request_protocol", "http"),
            ("connection_security_policy", policy),
        ]
    };
    for (client, policy) in shop.clients().into_iter().zip(["mutual_tls", "none"]) {
        shop.mesh
            .expect_requests(client, &shop.v1, 200, &labels(policy), 3);
        shop.mesh
            .expect_requests(client, &shop.v1, 503, &labels(policy), 1);
        let agent = shop.mesh.agent_of(client);
        let principal = client.principal();
        for name in [
            "istio_request_duration_milliseconds_count",
            "istio_request_bytes_count",
            "istio_response_bytes_count",
        ] {
            let labels = [("reporter", "source"), ("source_principal", &*principal)];
            eventually(name, Duration::from_secs(5), || {
                let seen = agent.metric(name, &labels);
                (seen == 4.0).then_some(()).ok_or(seen)
            });
        }
    }

    let agent = shop.mesh.agent_of(&shop.far);
    let entry = |method: &str| {
        eventually("an entry of the access log", Duration::from_secs(5), || {
            let log = agent.access_log();
            let found = log.iter().find(|entry| {
                entry["method"] == method && entry["source"]["workload"] == "far"
                    || entry["method"] == method && entry.to_string().contains("far")
            });
            found.cloned().ok_or(log)
        })
    };
    let (get, post) = (entry("GET"), entry("POST"));
    assert!(get.to_string().contains("/ok"), "{get}");
    let code = |entry: &Value| entry["response_code"].as_u64().or(entry["status"].as_u64());
    assert_eq!(
        (code(&get), code(&post)),
        (Some(200), Some(503)),
        "{get} {post}"
    );
    assert_eq!(get["reason"], "ok", "{get}");
    // What the rule is called.
    assert!(get.to_string().contains("HTTPRoute/shop/web"), "{get}");
}

/// The reason of Weir's own answers is in the header, the log and the metrics alike.
#[test]
fn a_refusal_is_explained_everywhere() {
    let shop = Shop::new();
    let rules = json!([{"matches": [{"path": {"type": "Exact", "value": "/only"}}], "backendRefs": super::to("v1")}]);
    let web = shop.routed("web", rules);
    shop.mesh.start_agents();

    let answer = ask(&shop.far, &web, "GET /other").send();
    assert_eq!((answer.status, answer.reason()), (404, Some("no_route")));
    assert!(
        answer.body.len() < 300 && answer.body.contains("no_route"),
        "{answer:?}"
    );
    let agent = shop.mesh.agent_of(&shop.far);
    agent.expect_logged(&["no_route"]);
    let labels = [
        ("response_code", "404"),
        ("response_flags", "NR"),
        ("reporter", "source"),
    ];
    eventually("counted", Duration::from_secs(5), || {
        let seen = agent.metric("istio_requests_total", &labels);
        (seen == 1.0).then_some(()).ok_or(seen)
    });

    // Who is not of the mesh gets the status and nothing of what is inside.
    let stranger = shop.mesh.outside("stranger");
    let direct = stranger
        .request(shop.v1.v4(8080), "/")
        .header("host", "a@b")
        .send();
    assert_eq!((direct.status, direct.reason()), (400, None), "{direct:?}");
    assert!(!direct.body.contains("shop"), "{direct:?}");
}

/// W3C Trace Context §3 and B3: the trace that a client began goes on.
#[test]
fn a_trace_goes_on() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();

    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for client in shop.clients() {
        let parent = format!("00-{trace}-{span}-01");
        let answer = ask(client, &web, "GET / tracestate:vendor=a")
            .header("traceparent", &parent)
            .send();
        let told = seen(&answer, "traceparent").unwrap_or_default();
        let parts: Vec<_> = told.split('-').collect();
        assert_eq!(parts.len(), 4, "{told}");
        assert_eq!(
            (parts[0], parts[1], parts[3]),
            ("00", trace, "01"),
            "{told}"
        );
        assert_eq!(seen(&answer, "tracestate").as_deref(), Some("vendor=a"));

        let answer = ask(client, &web, "GET /")
            .header("x-b3-traceid", trace)
            .header("x-b3-spanid", span)
            .header("x-b3-sampled", "1")
            .send();
        assert_eq!(seen(&answer, "x-b3-traceid").as_deref(), Some(trace));
        assert_eq!(seen(&answer, "x-b3-sampled").as_deref(), Some("1"));
        let answer = ask(client, &web, "GET /")
            .header("b3", &format!("{trace}-{span}-1"))
            .send();
        let told = seen(&answer, "b3").unwrap_or_default();
        assert!(told.starts_with(trace), "{told}");
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 3);
}
