//! `URLRewrite`: what the application gets to see.

use serde_json::{Value, json};

use super::{Shop, ask, seen, to};

/// MeshHTTPRouteRewritePath, MeshHTTPRouteRewriteHost
#[test]
fn paths_and_hosts_are_rewritten() {
    let shop = Shop::new();
    let rule = |path: &str, rewrite: Value| {
        json!({
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
            "backendRefs": to("v1"),
        })
    };
    let full = |path: &str| json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": path}});
    let prefix =
        |path: &str| json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}});
    let mut with_headers = rule("/with-headers", full("/one"));
    with_headers["filters"].as_array_mut().unwrap().push(json!({
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-set", "value": "yes"}]},
    }));
    let mut host = full("/there");
    host["hostname"] = json!("v1.example.org");
    let web = shop.routed(
        "web",
        json!([
            rule("/prefix/one", prefix("/one")),
            rule("/strip", prefix("/")),
            rule("/longer", prefix("/a/b/c")),
            rule("/slash", prefix("/end/")),
            rule("/full", full("/one")),
            rule("/host", json!({"hostname": "v1.example.org"})),
            rule("/host-and-path", host),
            with_headers,
        ]),
    );
    shop.mesh.start_agents();

    let cases = [
        ("/prefix/one/two", "/one/two", "web"),
        ("/prefix/one", "/one", "web"),
        ("/prefix/one?x=%2F", "/one?x=%2F", "web"),
        ("/strip/three", "/three", "web"),
        ("/strip", "/", "web"),
        ("/strip/", "/", "web"),
        ("/longer/d", "/a/b/c/d", "web"),
        ("/slash/d", "/end/d", "web"),
        ("/full/one/two?x=1", "/one?x=1", "web"),
        ("/host/two", "/host/two", "v1.example.org"),
        ("/host-and-path", "/there", "v1.example.org"),
        ("/with-headers/two", "/one", "web"),
    ];
    for client in shop.clients() {
        for (path, wanted, host) in cases {
            for request in [
                ask(client, &web, &format!("GET {path}")).host("web"),
                ask(client, &web, &format!("GET {path}")).host("web").h2(),
            ] {
                let answer = request.send();
                assert!(answer.is_from("v1"), "{path}: {answer:?}");
                assert_eq!(answer.report()["path"], wanted, "{path}");
                assert_eq!(answer.report()["host"], host, "{path}");
                if path.starts_with("/with-headers") {
                    assert_eq!(seen(&answer, "x-set").as_deref(), Some("yes"));
                }
            }
        }
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 24);
}
