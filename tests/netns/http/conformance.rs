//! Which traffic a route is for: addresses, ports, names, namespaces, sections.

use serde_json::json;
use weir_tests::manifests::{self, backend, parent};

use super::{Shop, all_to, ask, outcome, to};

/// MeshBasic, MeshFrontend, MeshFrontendHostname: the address dialled decides and not the Host; the
/// backends of a rule are reached without their own routes.
#[test]
fn the_service_dialled_decides_and_not_the_host() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    // A route for a backend acts on who dials that backend, not on who comes by another route.
    let v1 = json!([{"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-v1", "value": "route"}]}}], "backendRefs": to("v1")}]);
    shop.route("v1", v1);
    let other = shop.service("other");
    shop.mesh.start_agents();

    for client in shop.clients() {
        for host in [
            "web",
            "web.shop.svc.cluster.local",
            "v2.shop",
            "example.org:81",
        ] {
            let answer = ask(client, &web, "GET /").host(host).send();
            assert!(answer.is_from("v1"), "{answer:?}");
            assert_eq!(answer.report()["host"], host);
            assert_eq!(answer.header("x-v1"), None);
        }
        let v6 = client.get(web.v6, "/");
        assert!(v6.is_from("v1"), "{v6:?}");
        // A pod's own address is not subject to the routes of its services.
        let direct = client.get(shop.v2.v4(8080), "/");
        assert!(direct.is_from("v2"), "{direct:?}");
        let plain = ask(client, &other, "GET /")
            .host("web")
            .times(20)
            .send_all();
        assert!(plain.iter().any(|answer| answer.is_from("v2")));
    }
    // The client is who the application sees.
    let answer = ask(&shop.far, &web, "GET /").send();
    let peer = answer.report()["peer"].to_string();
    assert!(peer.contains(&shop.far.ipv4().to_string()), "{peer}");
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 4);
}

/// MeshPorts, MeshHTTPRouteParentRefPort (parentRefs.port): a route for one port leaves the others
/// alone. Beside one for all ports it is nothing special: equals go by their names.
#[test]
fn a_route_may_be_for_one_port() {
    let shop = Shop::new();
    let ports = |name: &str| {
        shop.mesh
            .new_service(name)
            .port(80, 8080, "http")
            .port(8081, 8080, "http")
            .port(7070, 7070, "tcp")
            .of(&[&shop.v1, &shop.v2])
    };
    let one = ports("one");
    let mut at_80 = parent("one");
    at_80["port"] = json!(80);
    shop.mesh
        .apply(&manifests::http_route("shop", "one", at_80, all_to("v1")));
    let both = ports("both");
    let mut at_8081 = parent("both");
    at_8081["port"] = json!(8081);
    shop.mesh.apply(&manifests::http_route(
        "shop",
        "a-8081",
        at_8081,
        all_to("v2"),
    ));
    shop.mesh.apply(&manifests::http_route(
        "shop",
        "both",
        parent("both"),
        all_to("v1"),
    ));
    let _echo = [shop.v1.serve("echo", 7070), shop.v2.serve("echo", 7070)];
    shop.mesh.start_agents();

    for client in shop.clients() {
        let servers = |addr| {
            let answers = client.request(addr, "/").times(30).send_all();
            let mut servers: Vec<_> = answers.iter().map(outcome).collect();
            servers.sort();
            servers.dedup();
            servers
        };
        assert_eq!(servers(one.at(80)), ["v1"]);
        assert_eq!(servers(one.at(8081)), ["v1", "v2"]);
        assert_eq!(servers(both.at(80)), ["v1"]);
        assert_eq!(servers(both.at(8081)), ["v2"]);
        // An HTTPRoute says nothing of a port that speaks something else.
        client.expect_echo(both.at(7070));
    }
    shop.mesh.expect_requests(&shop.far, &shop.v2, 200, &[], 30);
}

/// MeshConsumerRoute: a route in the client's namespace acts for that namespace's clients alone, and there
/// in place of the producer's.
#[test]
fn a_consumer_route_acts_for_its_own_namespace_alone() {
    let shop = Shop::new();
    shop.mesh.apply(&manifests::namespace("consumer", None));
    let consumers = [
        shop.mesh
            .pod("consumer-far", "n1")
            .namespace("consumer")
            .enrolled(),
        shop.mesh
            .pod("consumer-near", "n2")
            .namespace("consumer")
            .enrolled(),
    ];
    let web = shop.routed("web", all_to("v1"));
    let mut to_shop = parent("web");
    to_shop["namespace"] = json!("shop");
    let timeout = |status: u16| {
        json!([{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "consumer.example.org", "statusCode": status}}],
        }])
    };
    shop.mesh.apply(&manifests::http_route(
        "consumer",
        "mine",
        to_shop.clone(),
        timeout(301),
    ));
    shop.mesh.start_agents();

    for client in shop.clients() {
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
    }
    for client in &consumers {
        let answer = ask(client, &web, "GET /").send();
        assert_eq!(answer.status, 301, "{answer:?}");
    }
    // It comes and goes live; without it the producer's counts.
    let mine = manifests::http_route("consumer", "mine", to_shop, timeout(301));
    shop.mesh.delete(&mine);
    for client in &consumers {
        ask(client, &web, "GET /").until("the producer's route", |answer| answer.is_from("v1"));
    }
    shop.mesh
        .expect_requests(&consumers[0], &shop.v1, 200, &[], 1);
}

/// HTTPRouteNamedRule: the rule's name is what logs and metrics call it.
#[test]
fn a_named_rule_is_known_by_its_name() {
    let shop = Shop::new();
    let web = shop.routed(
        "web",
        json!([
            {"name": "checkout", "matches": [{"path": {"type": "PathPrefix", "value": "/checkout"}}], "backendRefs": to("v1")},
            {"backendRefs": [backend("v2")]},
        ]),
    );
    shop.mesh.start_agents();
    shop.expect(&web, &[("GET /checkout", "v1"), ("GET /", "v2")]);

    let agent = shop.mesh.agent_of(&shop.far);
    weir_tests::eventually(
        "durations by rule",
        std::time::Duration::from_secs(5),
        || {
            let metrics = agent.metrics();
            let count = |rule: &str| {
                let labels = [("route", "HTTPRoute/shop/web"), ("rule", rule)];
                metrics.sum("weir_route_request_duration_milliseconds_count", &labels)
            };
            let counts = (count("checkout"), count("1"));
            (counts == (1.0, 1.0)).then_some(()).ok_or_else(|| {
                format!(
                    "{:#?}",
                    metrics.starting_with("weir_route_request_duration_milliseconds_count")
                )
            })
        },
    );
}
