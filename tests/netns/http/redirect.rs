//! `RequestRedirect`: what `Location` says, and with which status.

use serde_json::{Value, json};

use super::{Shop, ask};

/// MeshHTTPRouteRedirectHostAndStatus, MeshHTTPRouteRedirectPath, MeshHTTPRouteRedirectPort,
/// MeshHTTPRouteSchemeRedirect, MeshHTTPRoute303Redirect, …307Redirect, …308Redirect
#[test]
fn a_redirect_says_where_and_how() {
    let shop = Shop::new();
    let rule = |path: &str, redirect: Value| {
        json!({
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
        })
    };
    let full = |path: &str| json!({"type": "ReplaceFullPath", "replaceFullPath": path});
    let prefix = |path: &str| json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": path});
    let web = shop.routed(
        "web",
        json!([
            rule("/host", json!({"hostname": "example.org"})),
            rule("/301", json!({"hostname": "example.org", "statusCode": 301})),
            rule("/303", json!({"path": full("/see"), "statusCode": 303})),
            rule("/307", json!({"hostname": "example.org", "statusCode": 307})),
            rule("/308", json!({"hostname": "example.org", "statusCode": 308})),
            rule("/port", json!({"port": 8083})),
            rule("/scheme", json!({"scheme": "https"})),
            rule("/scheme-host", json!({"scheme": "https", "hostname": "example.org"})),
            rule("/scheme-port", json!({"scheme": "https", "port": 8443})),
            rule("/scheme-443", json!({"scheme": "https", "port": 443})),
            rule("/port-80", json!({"port": 80, "scheme": "http"})),
            rule("/all", json!({"scheme": "https", "hostname": "example.org", "port": 8443, "path": full("/x"), "statusCode": 301})),
            rule("/full", json!({"path": full("/new")})),
            rule("/prefix", json!({"path": prefix("/new")})),
            rule("/strip", json!({"path": prefix("/")})),
        ]),
    );
    shop.mesh.start_agents();

    let cases = [
        ("/host?x=1", 302, "http://example.org/host?x=1"),
        ("/301", 301, "http://example.org/301"),
        ("/303", 303, "http://web/see"),
        ("/307", 307, "http://example.org/307"),
        ("/308", 308, "http://example.org/308"),
        ("/port/a", 302, "http://web:8083/port/a"),
        ("/scheme", 302, "https://web/scheme"),
        ("/scheme-host", 302, "https://example.org/scheme-host"),
        ("/scheme-port", 302, "https://web:8443/scheme-port"),
        ("/scheme-443", 302, "https://web/scheme-443"),
        ("/port-80", 302, "http://web/port-80"),
        ("/all/of/it?x=1", 301, "https://example.org:8443/x?x=1"),
        ("/full/a/b", 302, "http://web/new"),
        ("/prefix/a/b?x=1", 302, "http://web/new/a/b?x=1"),
        ("/prefix", 302, "http://web/new"),
        ("/strip/a", 302, "http://web/a"),
        ("/strip", 302, "http://web/"),
    ];
    for client in shop.clients() {
        for (path, status, location) in cases {
            for request in [
                ask(client, &web, &format!("GET {path}")).host("web"),
                ask(client, &web, &format!("POST {path}")).host("web").h2(),
            ] {
                let answer = request.send();
                let said = answer.header("location").unwrap_or_default();
                assert_eq!(
                    (answer.status, said),
                    (status, location),
                    "{path}: {answer:?}"
                );
            }
        }
    }
    assert!(shop.apps.iter().all(|app| app.count("request") == 0));
}
