//! `timeouts` of a rule: `request` and `backendRequest`, to the millisecond and to the rule.

use std::time::Duration;

use serde_json::json;

use super::{Shop, ask, outcome, to};

/// How much later than its time a timeout may show on a busy machine.
const SLACK: Duration = Duration::from_millis(350);

/// MeshHTTPRouteRequestTimeout, MeshHTTPRouteBackendRequestTimeout (HTTPRouteTimeoutRequest, …)
#[test]
fn a_timeout_is_that_of_the_rule() {
    let shop = Shop::new();
    let rule = |path: &str, timeouts: serde_json::Value| {
        json!({
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "timeouts": timeouts,
            "backendRefs": to("v1"),
        })
    };
    let web = shop.routed(
        "web",
        json!([
            rule("/request", json!({"request": "500ms"})),
            rule("/backend", json!({"backendRequest": "300ms"})),
            rule("/both", json!({"request": "1s", "backendRequest": "300ms"})),
            rule("/none", json!({"request": "0s"})),
            {"matches": [{"path": {"type": "PathPrefix", "value": "/unsaid"}}], "backendRefs": to("v1")},
        ]),
    );
    shop.mesh.start_agents();

    let ms = Duration::from_millis;
    for client in shop.clients() {
        for (path, reason, after) in [
            ("/request", "request_timeout", ms(500)),
            ("/backend", "backend_timeout", ms(300)),
            ("/both", "backend_timeout", ms(300)),
        ] {
            for h2 in [false, true] {
                let request = ask(client, &web, &format!("GET {path}?delay=5s"));
                let request = if h2 { request.h2() } else { request };
                let answer = request.send();
                assert_eq!(outcome(&answer), format!("504 {reason}"), "{answer:?}");
                let range = after..after + SLACK;
                assert!(range.contains(&answer.took), "{path}: {answer:?}");
            }
            let quick = ask(client, &web, &format!("GET {path}?delay=100ms")).send();
            assert!(quick.is_from("v1"), "{quick:?}");
        }
        for path in ["/none", "/unsaid"] {
            let slow = ask(client, &web, &format!("GET {path}?delay=1500ms")).send();
            assert!(slow.is_from("v1"), "{slow:?}");
        }
        // The head is out: all that is left is to break the answer off, which the client notices.
        let broken = ask(client, &web, "GET /request?chunks=20&every=100ms").send();
        assert_eq!(broken.status, 200);
        assert!(broken.error.is_some(), "{broken:?}");
        assert!(
            (ms(500)..ms(500) + SLACK).contains(&broken.took),
            "{broken:?}"
        );
        // The connection is good for more.
        assert!(ask(client, &web, "GET /request").send().is_from("v1"));
    }
    let timed_out = [("response_code", "504")];
    let agent = shop.mesh.agent_of(&shop.far);
    assert!(agent.metric("istio_requests_total", &timed_out) >= 6.0);
}
