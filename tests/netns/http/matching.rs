//! Which rule a request goes to (`HTTPRouteMatch`, and the order in `HTTPRouteRule.matches`).

use serde_json::json;
use weir_tests::manifests::{self, parent};

use super::{Shop, to};

/// MeshHTTPRouteMatching, HTTPRoutePathMatchOrder
#[test]
fn paths_match_exactly_by_segments_or_by_a_regular_expression() {
    let shop = Shop::new();
    let exact = shop.routed(
        "exact",
        json!([
            {"matches": [{"path": {"type": "Exact", "value": "/v2"}}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "Exact", "value": "/slash/"}}], "backendRefs": to("v1")},
        ]),
    );
    let prefix = shop.routed(
        "prefix",
        json!([
            {"matches": [{"path": {"type": "PathPrefix", "value": "/a/b"}}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/c/"}}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/a"}}], "backendRefs": to("v2")},
        ]),
    );
    let regex = shop.routed(
        "regex",
        json!([
            {"matches": [{"path": {"type": "RegularExpression", "value": "/item/[0-9]+"}}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "RegularExpression", "value": "/(x|y)/.*"}}], "backendRefs": to("v2")},
        ]),
    );
    shop.mesh.start_agents();

    shop.expect(
        &exact,
        &[
            ("GET /v2", "v2"),
            ("GET /v2?query=1", "v2"),
            ("GET /v2/", "404 no_route"),
            ("GET /v2/more", "404 no_route"),
            ("GET /V2", "404 no_route"),
            ("GET /slash/", "v1"),
            ("GET /slash", "404 no_route"),
            ("GET /", "404 no_route"),
        ],
    );
    shop.expect(
        &prefix,
        &[
            ("GET /a/b", "v1"),
            ("GET /a/b/", "v1"),
            ("GET /a/b/c", "v1"),
            ("GET /a/bc", "v2"),
            ("GET /a", "v2"),
            ("GET /ab", "404 no_route"),
            ("GET /c", "v1"),
            ("GET /c/d", "v1"),
            ("GET /cd", "404 no_route"),
        ],
    );
    shop.expect(
        &regex,
        &[
            ("GET /item/42", "v1"),
            ("GET /item/42?x=y", "v1"),
            ("GET /item/42/more", "404 no_route"),
            ("GET /item/", "404 no_route"),
            ("GET /more/item/42", "404 no_route"),
            ("GET /y/anything/at/all", "v2"),
        ],
    );
    // The path that decides is the normalized one; the application gets what the client sent.
    shop.expect(
        &exact,
        &[
            ("GET /x/../v2", "v2"),
            ("GET /%76%32", "v2"),
            ("GET //v2", "v2"),
            ("GET /%zz", "400 bad_request"),
            ("GET /v2%00", "400 bad_request"),
        ],
    );
    let answer = shop.far.get(exact.v4, "/x/../%76%32?q=%20");
    assert_eq!(answer.report()["path"], "/x/../%76%32?q=%20");
    shop.mesh.expect_requests(&shop.far, &shop.v2, 200, &[], 5);
    shop.mesh.expect_requests(&shop.near, &shop.v1, 200, &[], 5);
}

/// MeshHTTPRouteMatching, HTTPRouteHeaderMatching, MeshHTTPRouteQueryParamMatching,
/// HTTPRouteMethodMatching
#[test]
fn headers_query_parameters_and_methods_match() {
    let shop = Shop::new();
    let headers = shop.routed(
        "headers",
        json!([
            {"matches": [{"headers": [{"name": "version", "value": "one"}]}], "backendRefs": to("v1")},
            {"matches": [{"headers": [{"name": "Version", "value": "two"}, {"name": "color", "value": "blue"}]}], "backendRefs": to("v2")},
            {"matches": [{"headers": [{"name": "color", "value": "(green|red)-[0-9]+", "type": "RegularExpression"}]}], "backendRefs": to("v2")},
            // Either of two matches is enough.
            {"matches": [{"headers": [{"name": "x-a", "value": "1"}]}, {"headers": [{"name": "x-b", "value": "1"}]}], "backendRefs": to("v1")},
        ]),
    );
    let query = shop.routed(
        "query",
        json!([
            {"matches": [{"queryParams": [{"name": "animal", "value": "whale"}]}], "backendRefs": to("v1")},
            {"matches": [{"queryParams": [{"name": "animal", "value": "dolphin"}, {"name": "color", "value": "blue"}]}], "backendRefs": to("v2")},
            {"matches": [{"queryParams": [{"name": "ANIMAL", "value": "Whale"}]}], "backendRefs": to("v2")},
            {"matches": [{"queryParams": [{"name": "id", "value": "[0-9]{3}", "type": "RegularExpression"}]}], "backendRefs": to("v1")},
        ]),
    );
    let methods = shop.routed(
        "methods",
        json!([
            {"matches": [{"method": "POST"}], "backendRefs": to("v1")},
            {"matches": [{"method": "GET", "path": {"type": "PathPrefix", "value": "/read"}}], "backendRefs": to("v2")},
            {"matches": [{"method": "PATCH"}], "backendRefs": to("v2")},
        ]),
    );
    shop.mesh.start_agents();

    shop.expect(
        &headers,
        &[
            ("GET / version:one", "v1"),
            ("GET /any VERSION:one", "v1"),
            ("GET / version:two", "404 no_route"),
            ("GET / color:blue version:two", "v2"),
            ("GET / color:blue", "404 no_route"),
            ("GET / color:red-7", "v2"),
            ("GET / color:red-7-and-more", "404 no_route"),
            ("GET / x-b:1", "v1"),
            ("GET / x-a:1", "v1"),
            ("GET / version:One", "404 no_route"),
            ("GET /", "404 no_route"),
        ],
    );
    shop.expect(
        &query,
        &[
            ("GET /?animal=whale", "v1"),
            ("GET /any?x=y&animal=whale", "v1"),
            ("GET /?animal=dolphin", "404 no_route"),
            ("GET /?animal=dolphin&color=blue", "v2"),
            ("GET /?color=blue&animal=dolphin&more=1", "v2"),
            ("GET /?ANIMAL=Whale", "v2"),
            ("GET /?animal=Whale", "404 no_route"),
            ("GET /?id=123", "v1"),
            ("GET /?id=1234", "404 no_route"),
            ("GET /animal=whale", "404 no_route"),
            // The first of several counts; values are compared decoded.
            ("GET /?animal=whale&animal=shark", "v1"),
            ("GET /?animal=wh%61le", "v1"),
        ],
    );
    shop.expect(
        &methods,
        &[
            ("POST /", "v1"),
            ("POST /read", "v1"),
            ("GET /read", "v2"),
            ("PATCH /", "v2"),
            ("GET /", "404 no_route"),
            ("DELETE /read", "404 no_route"),
        ],
    );
}

/// HTTPRouteMatchingAcrossRoutes, HTTPRoutePathMatchOrder: the more specific match wins, wherever it is
/// written; of equals the older route, then the first by name, then the first rule.
#[test]
fn the_more_specific_match_wins() {
    let shop = Shop::new();
    let order = shop.routed(
        "order",
        json!([
            {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/match"}}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "Exact", "value": "/match/exact"}}], "backendRefs": to("v1")},
            // A longer prefix before more headers, a method before headers, headers before queries.
            {"matches": [{"path": {"type": "PathPrefix", "value": "/h"}, "headers": [{"name": "x-a", "value": "1"}, {"name": "x-b", "value": "1"}]}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/h/long"}}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/m"}, "headers": [{"name": "x-a", "value": "1"}, {"name": "x-b", "value": "1"}]}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/m"}, "method": "GET"}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/q"}, "queryParams": [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/q"}, "headers": [{"name": "x-a", "value": "1"}]}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/n"}, "headers": [{"name": "x-a", "value": "1"}]}], "backendRefs": to("v1")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/n"}, "headers": [{"name": "x-a", "value": "1"}, {"name": "x-b", "value": "1"}]}], "backendRefs": to("v2")},
            // Equals: the first.
            {"matches": [{"path": {"type": "Exact", "value": "/same"}}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "Exact", "value": "/same"}}], "backendRefs": to("v1")},
        ]),
    );
    // Three routes for one service: the oldest is not the first by name.
    let several = shop.service("several");
    let of = |name: &str, path: &str, backend: &str| {
        let rules = json!([{"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": to(backend)}]);
        manifests::http_route("shop", name, parent("several"), rules)
    };
    let mut oldest = of("z-oldest", "/same", "v2");
    oldest["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
    let mut younger = of("a-younger", "/same", "v1");
    younger["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    for route in [
        oldest,
        younger,
        of("longer", "/same/longer", "v1"),
        of("b-name", "/name", "v1"),
        of("c-name", "/name", "v2"),
    ] {
        shop.mesh.apply(&route);
    }
    shop.mesh.start_agents();

    shop.expect(
        &order,
        &[
            ("GET /", "v1"),
            ("GET /match", "v2"),
            ("GET /match/exact", "v1"),
            ("GET /match/exact/not", "v2"),
            ("GET /h x-a:1 x-b:1", "v1"),
            ("GET /h/long x-a:1 x-b:1", "v2"),
            ("GET /m x-a:1 x-b:1", "v2"),
            ("POST /m x-a:1 x-b:1", "v1"),
            ("GET /q?a=1&b=1", "v1"),
            ("GET /q?a=1&b=1 x-a:1", "v2"),
            ("GET /n x-a:1", "v1"),
            ("GET /n x-a:1 x-b:1", "v2"),
            ("GET /same", "v2"),
        ],
    );
    shop.expect(
        &several,
        &[
            ("GET /same", "v2"),
            ("GET /same/longer", "v1"),
            ("GET /name", "v1"),
            ("GET /", "404 no_route"),
        ],
    );
}
