//! HTTP to and from an HBONE peer that is not Weir's code (Envoy): it travels inside CONNECT.

use serde_json::json;
use weir_tests::{
    envoy, hbone,
    manifests::{self, parent},
};

use super::{all_to, seen};
use crate::peer_and_pod;

#[test]
fn requests_are_routed_and_reach_an_application_behind_envoy() {
    let (mesh, peer, client) = peer_and_pod("client");
    let web = mesh.http_service("web", &[&peer]);
    mesh.http_service("peer", &[&peer]);
    let mut rules = all_to("peer");
    rules[0]["filters"] = json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-set", "value": "rule"}]}}]);
    mesh.apply(&manifests::http_route("shop", "web", parent("web"), rules));
    let app = peer
        .testprog(&["http", "127.0.0.1:8080", "behind-envoy"])
        .spawn();
    app.event_named("listening");
    let envoy = envoy::server(&peer, &mesh.identity_of(&peer), 8080, &client.principal());

    let sniffer = mesh.sniff();
    let request = client
        .request(web.v4, "/a?b")
        .header("x-secret", "the-secret");
    request.until("the route is known", |answer| {
        seen(answer, "x-set").is_some()
    });
    let mut answers = request.clone().times(5).send_all();
    answers.push(request.h2().send());
    for answer in answers {
        assert!(answer.is_from("behind-envoy"), "{answer:?}");
        assert_eq!(seen(&answer, "x-set").as_deref(), Some("rule"));
        assert_eq!(answer.report()["path"], "/a?b");
    }
    let frames = sniffer.stop();
    assert!(frames.has_client_hello_to(hbone::PORT) && !frames.contain(b"the-secret"));
    let stream = envoy.event(|event| event["event"] == "stream");
    assert_eq!(stream["method"], "CONNECT");
}

#[test]
fn requests_of_a_pod_behind_envoy_are_seen_one_by_one() {
    let (mesh, peer, server) = peer_and_pod("server");
    mesh.http_service("web", &[&server]);
    let app = server.http(8080);
    let _envoy = envoy::client(
        &peer,
        &mesh.identity_of(&peer),
        9000,
        server.v4(hbone::PORT),
        server.v4(8080),
        &server.principal(),
    );
    let through: std::net::SocketAddr = "127.0.0.1:9000".parse().unwrap();
    let answers = peer.request(through, "/x").times(5).send_all();
    for answer in &answers {
        assert!(answer.is_from("server"), "{answer:?}");
        let told = seen(answer, "x-forwarded-client-cert").unwrap_or_default();
        assert!(told.contains(&peer.principal()), "{told}");
    }
    assert_eq!(app.count("request"), 5);
    // Its own agent is none of ours: the destination alone tells of it.
    let (source, destination) = (peer.principal(), server.principal());
    let labels = [
        ("reporter", "destination"),
        ("source_principal", source.as_str()),
        ("destination_principal", destination.as_str()),
        ("response_code", "200"),
    ];
    let agent = mesh.agent_of(&server);
    weir_tests::eventually(
        "requests are counted",
        std::time::Duration::from_secs(5),
        || {
            let seen = agent.metric("istio_requests_total", &labels);
            (seen == 5.0).then_some(()).ok_or(seen)
        },
    );
}
