//! What GRPCRoutes have of their own.

use super::{assert_spec_errors, route, yaml};
use crate::model::route::{PathMatch, RequestMatch, RouteKind, Rule, TextMatch};

fn rule(rule: &str) -> Rule {
    let route = route(&yaml("GRPCRoute", &format!("rules: [{rule}]")));
    assert_eq!(route.kind, RouteKind::Grpc);
    route.rules[0].clone()
}

#[test]
fn methods() {
    let exact = |text: &str| Some(TextMatch::Exact(text.into()));
    for (method, service, name) in [
        (
            "{service: shop.v1.Cart, method: Add}",
            exact("shop.v1.Cart"),
            exact("Add"),
        ),
        ("{type: Exact, service: Cart}", exact("Cart"), None),
        ("{method: _add2}", None, exact("_add2")),
        // The leading dot of a whole name is not on the wire.
        ("{service: .shop.Cart}", exact("shop.Cart"), None),
    ] {
        let rule = rule(&format!("{{matches: [{{method: {method}}}]}}"));
        let expected = PathMatch::Grpc {
            service,
            method: name,
        };
        assert_eq!(rule.matches[0].path, Some(expected), "{method}");
    }
    let rule = rule(
        "{matches: [{method: {type: RegularExpression, service: '.*[.]Cart', method: Get.+}}]}",
    );
    let Some(PathMatch::Grpc {
        service: Some(TextMatch::Regex(service)),
        method: Some(TextMatch::Regex(method)),
    }) = &rule.matches[0].path
    else {
        panic!("{rule:?}");
    };
    assert!(service.is_match("shop.Cart") && method.is_match("GetAll") && !method.is_match("Get"));
}

#[test]
fn a_match_without_a_method_is_of_its_headers() {
    let rule = rule(
        "{name: all, matches: [{}, {headers: [{name: X-A, value: b}]}], sessionPersistence: {}}",
    );
    assert_eq!(rule.matches[0], RequestMatch::default());
    assert_eq!(rule.matches[1].headers[0].0.as_str(), "x-a");
    assert_eq!(
        (rule.name.as_deref(), rule.session.is_some()),
        (Some("all"), true)
    );
    assert!(route(&yaml("GRPCRoute", "")).rules.is_empty());
}

#[test]
fn what_is_wrong_with_a_grpc_route() {
    for (method, expected) in [
        ("{}", ": needs a service, a method or both"),
        ("{type: Exact}", ": needs a service, a method or both"),
        ("{service: ''}", ".service: is required"),
        (
            "{service: 'a/b'}",
            ".service: \"a/b\" is not a name of protobuf",
        ),
        ("{service: 'a..b'}", ".service: "),
        (
            "{method: 'a.b'}",
            ".method: \"a.b\" is not a name of protobuf",
        ),
        ("{method: 2a}", ".method: "),
        (
            "{type: Prefix, method: a}",
            ".type: \"Prefix\" is not one of Exact, RegularExpression",
        ),
        (
            "{type: RegularExpression, method: '('}",
            ".method: \"(\" is not a regular expression",
        ),
    ] {
        let spec = format!("rules: [{{}}, {{matches: [{{method: {method}}}]}}]");
        let expected = format!("spec.rules[1].matches[0].method{expected}");
        assert_spec_errors("GRPCRoute", &[(&spec, &expected)]);
    }
    let many = vec!["{}"; 64].join(", ");
    assert_spec_errors(
        "GRPCRoute",
        &[
            (
                &format!(
                    "rules: [{{matches: [{many}]}}, {{matches: [{many}]}}, {{matches: [{{}}]}}]"
                ),
                "spec.rules: have more than 128 matches",
            ),
            (
                "rules: [{matches: [{path: {value: /}}]}]",
                "spec.rules[0].matches[0].path: unknown field",
            ),
            (
                "rules: [{timeouts: {request: 1s}}]",
                "spec.rules[0].timeouts: unknown field",
            ),
            ("hostnames: ['-']", "spec.hostnames[0]: "),
        ],
    );
}
