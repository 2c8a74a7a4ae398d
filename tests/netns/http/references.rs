//! Routes that refer to other namespaces, and routes that are wrong.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{eventually, manifests};

use super::{Shop, all_to, ask, outcome};

/// HTTPRouteReferenceGrant, MeshHTTPRouteInvalidCrossNamespaceBackendRef
#[test]
fn a_backend_in_another_namespace_needs_a_grant() {
    let shop = Shop::new();
    shop.mesh.apply(&manifests::namespace("stock", None));
    let keeper = shop.mesh.pod("keeper", "n2").namespace("stock").enrolled();
    let _app = keeper.http(8080);
    shop.mesh
        .new_service("stock")
        .namespace("stock")
        .port(80, 8080, "http")
        .of(&[&keeper]);
    let backends = json!([{"name": "stock", "namespace": "stock", "port": 80}]);
    let web = shop.routed("web", json!([{"backendRefs": backends}]));
    // Grants for others are none.
    shop.mesh.apply(&manifests::reference_grant(
        "stock",
        "other-kind",
        "GRPCRoute",
        "shop",
    ));
    shop.mesh.apply(&manifests::reference_grant(
        "stock",
        "other-place",
        "HTTPRoute",
        "elsewhere",
    ));
    shop.mesh.apply(&manifests::reference_grant(
        "shop",
        "wrong-side",
        "HTTPRoute",
        "shop",
    ));
    shop.mesh.start_agents();

    shop.expect(&web, &[("GET /", "500 backend_not_found")]);
    let grant = manifests::reference_grant("stock", "shop", "HTTPRoute", "shop");
    shop.mesh.apply(&grant);
    for client in shop.clients() {
        ask(client, &web, "GET /").until("the grant counts", |answer| answer.is_from("keeper"));
    }
    shop.mesh.delete(&grant);
    for client in shop.clients() {
        ask(client, &web, "GET /").until("the grant is gone", |answer| answer.status == 500);
    }
    shop.mesh.expect_requests(&shop.far, &keeper, 200, &[], 1);
}

/// A route that is wrong in one field is left out, with the field's path; its last good version and all
/// others stay in force.
#[test]
fn a_wrong_route_is_named_and_disturbs_nothing() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    let other = shop.routed("other", all_to("v2"));
    shop.mesh.start_agents();
    shop.expect(&web, &[("GET /", "v1")]);

    let wrong: [(Value, &str); 5] = [
        (
            json!([{"matches": [{"path": {"type": "PathPrefix", "value": "no-slash"}}], "backendRefs": super::to("v2")}]),
            "spec.rules[0].matches[0].path.value",
        ),
        (
            json!([{"matches": [{"path": {"type": "RegularExpression", "value": "/("}}], "backendRefs": super::to("v2")}]),
            "spec.rules[0].matches[0].path.value",
        ),
        (
            json!([{"backendRefs": [{"name": "v2", "port": 80, "weight": -1}]}]),
            "spec.rules[0].backendRefs[0].weight",
        ),
        (
            json!([{"timeouts": {"request": "soon"}, "backendRefs": super::to("v2")}]),
            "spec.rules[0].timeouts.request",
        ),
        (
            json!([{"timeouts": {"request": "1s", "backendRequest": "2s"}, "backendRefs": super::to("v2")}]),
            "spec.rules[0].timeouts.backendRequest",
        ),
    ];
    let agent = shop.mesh.agent_of(&shop.far);
    for (rules, field) in wrong {
        let before = agent.log().matches(field).count();
        shop.route("web", rules);
        eventually(field, Duration::from_secs(5), || {
            let log = agent.log();
            (log.matches(field).count() > before)
                .then_some(())
                .ok_or(log)
        });
        shop.expect(&web, &[("GET /", "v1")]);
        shop.expect(&other, &[("GET /", "v2")]);
        // Mended by what it was, so that the next one is news again.
        shop.route("web", all_to("v1"));
        eventually("nothing is rejected", Duration::from_secs(5), || {
            let rejected = agent.metric("weir_config_rejected_objects", &[]);
            (rejected == 0.0).then_some(()).ok_or(rejected)
        });
    }

    // Gone is gone: without a route the service balances.
    let route = manifests::http_route("shop", "web", manifests::parent("web"), all_to("v1"));
    shop.mesh.delete(&route);
    for client in shop.clients() {
        ask(client, &web, "GET /").until("the route is gone", |answer| outcome(answer) == "v2");
    }
}
