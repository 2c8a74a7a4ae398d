//! `RequestHeaderModifier` and `ResponseHeaderModifier`, of a rule and of one backend.

use serde_json::json;

use super::{Shop, ask, seen, to};

/// MeshHTTPRouteRequestHeaderModifier, MeshHTTPRouteBackendRequestHeaderModifier
#[test]
fn request_headers_are_set_added_and_removed() {
    let shop = Shop::new();
    let modifier = |set: &str, add: &str, remove: &str| {
        json!({
            "type": "RequestHeaderModifier",
            "requestHeaderModifier": {
                "set": [{"name": "X-Set", "value": set}],
                "add": [{"name": "X-Add", "value": add}],
                "remove": [remove],
            },
        })
    };
    let rule = shop.routed(
        "rule",
        json!([{"filters": [modifier("rule", "rule", "x-remove")], "backendRefs": to("v1")}]),
    );
    // A backend's own come after the rule's, and act on its share alone.
    let both = shop.routed(
        "both",
        json!([
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/one"}}],
                "filters": [modifier("rule", "rule", "x-remove")],
                "backendRefs": [{"name": "v1", "port": 80, "filters": [modifier("backend", "backend", "x-remove-too")]}],
            },
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/share"}}],
                "backendRefs": [
                    {"name": "v1", "port": 80, "filters": [modifier("v1", "v1", "x-remove")]},
                    {"name": "v2", "port": 80},
                ],
            },
        ]),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        let plain = ask(client, &rule, "GET / x-other:kept x-remove:gone").send();
        assert!(plain.is_from("v1"), "{plain:?}");
        assert_eq!(seen(&plain, "x-set").as_deref(), Some("rule"));
        assert_eq!(seen(&plain, "x-add").as_deref(), Some("rule"));
        assert_eq!(seen(&plain, "x-remove"), None);
        assert_eq!(seen(&plain, "x-other").as_deref(), Some("kept"));

        let beside = ask(client, &rule, "GET / x-set:mine x-add:mine").send();
        assert_eq!(seen(&beside, "x-set").as_deref(), Some("rule"));
        assert_eq!(seen(&beside, "x-add").as_deref(), Some("mine,rule"));

        let line = "GET /one x-remove:gone x-remove-too:gone";
        let twice = ask(client, &both, line).send();
        assert_eq!(seen(&twice, "x-set").as_deref(), Some("backend"));
        assert_eq!(seen(&twice, "x-add").as_deref(), Some("rule,backend"));
        assert_eq!(seen(&twice, "x-remove"), None);
        assert_eq!(seen(&twice, "x-remove-too"), None);

        for answer in ask(client, &both, "GET /share").times(40).send_all() {
            let marked = seen(&answer, "x-set");
            let wanted = answer.is_from("v1").then(|| "v1".to_owned());
            assert_eq!(marked, wanted, "{answer:?}");
        }
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 3);
}

/// HTTPRouteResponseHeaderModifier, HTTPRouteBackendResponseHeaderModifier
#[test]
fn response_headers_are_set_added_and_removed() {
    let shop = Shop::new();
    let modifier = |value: &str| {
        json!({
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier": {
                "set": [{"name": "x-set", "value": value}],
                "add": [{"name": "x-add", "value": value}],
                "remove": ["x-remove"],
            },
        })
    };
    let web = shop.routed(
        "web",
        json!([{
            "filters": [modifier("rule")],
            "backendRefs": [{"name": "v1", "port": 80, "filters": [modifier("backend")]}],
        }]),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        let line = "GET /?set=x-set:app&set=x-add:app&set=x-remove:app&set=x-other:app";
        let answer = ask(client, &web, line).send();
        assert!(answer.is_from("v1"), "{answer:?}");
        // On the way back the backend's come first.
        assert_eq!(answer.headers["x-set"], ["rule"]);
        assert_eq!(answer.headers["x-add"], ["app", "backend", "rule"]);
        assert_eq!(answer.header("x-remove"), None);
        assert_eq!(answer.header("x-other"), Some("app"));
    }
    shop.mesh.expect_requests(&shop.near, &shop.v1, 200, &[], 1);
}
