//! The `CORS` filter: preflights are answered at the node, answers carry what the browser asks for.

use serde_json::json;
use weir_tests::Answer;

use super::{Shop, ask, to};

/// The names of a list header, whatever its spaces and case.
fn list(answer: &Answer, header: &str) -> Vec<String> {
    let values = answer.headers.get(header).into_iter().flatten();
    let names = values.flat_map(|value| value.split(','));
    names.map(|name| name.trim().to_ascii_lowercase()).collect()
}

/// HTTPRouteCORS
#[test]
fn browsers_are_told_which_origins_may_ask() {
    let shop = Shop::new();
    let filter = json!({"type": "CORS", "cors": {
        "allowOrigins": ["https://www.foo.com", "https://*.bar.com"],
        "allowCredentials": true,
        "allowMethods": ["GET", "OPTIONS"],
        "allowHeaders": ["x-header-1", "x-header-2"],
        "exposeHeaders": ["x-header-3"],
        "maxAge": 3600,
    }});
    let web = shop.routed(
        "web",
        json!([
            {"matches": [{"path": {"type": "PathPrefix", "value": "/cors"}}], "filters": [filter], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/plain"}}], "backendRefs": to("v1")},
        ]),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        let preflight = |origin: &str| {
            ask(
                client,
                &web,
                "OPTIONS /cors access-control-request-method:GET",
            )
            .header("origin", origin)
            .header("access-control-request-headers", "x-header-1, x-header-2")
            .send()
        };
        for origin in ["https://www.foo.com", "https://a.b.bar.com"] {
            let answer = preflight(origin);
            assert!(matches!(answer.status, 200 | 204), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                Some("true")
            );
            assert_eq!(
                list(&answer, "access-control-allow-methods"),
                ["get", "options"]
            );
            assert_eq!(
                list(&answer, "access-control-allow-headers"),
                ["x-header-1", "x-header-2"]
            );
            assert_eq!(answer.header("access-control-max-age"), Some("3600"));
        }
        for origin in [
            "https://www.foo.com.evil.com",
            "http://www.foo.com",
            "https://bar.com.evil",
        ] {
            let answer = preflight(origin);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                None,
                "{answer:?}"
            );
        }
        assert_eq!(
            shop.apps[0].count("request"),
            if client.name() == "far" { 0 } else { 4 }
        );

        // Simple requests go on, and what the application says of it is replaced.
        let line = "GET /cors?set=access-control-allow-origin:*&set=x-header-3:a origin:https://www.foo.com";
        let answer = ask(client, &web, line).send();
        assert!(answer.is_from("v1"));
        assert_eq!(
            answer.headers["access-control-allow-origin"],
            ["https://www.foo.com"]
        );
        assert_eq!(
            list(&answer, "access-control-expose-headers"),
            ["x-header-3"]
        );
        let other = ask(client, &web, "GET /cors origin:https://evil.com").send();
        assert!(other.is_from("v1"));
        assert_eq!(other.header("access-control-allow-origin"), None);
        // OPTIONS without an origin is no preflight, and no other rule's business is touched.
        assert!(ask(client, &web, "OPTIONS /cors").send().is_from("v1"));
        let plain = ask(
            client,
            &web,
            "OPTIONS /plain access-control-request-method:GET",
        )
        .header("origin", "https://www.foo.com")
        .send();
        assert!(plain.is_from("v1"));
        assert_eq!(plain.header("access-control-allow-origin"), None);
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 4);
}
