//! Matches of HTTPRoutes, and how many of everything there can be.

use http::Method;

use super::{assert_errors, assert_spec_errors, parse, route, yaml};
use crate::model::route::{PathMatch, Route, RouteKind, Rule, TextMatch};

pub(super) fn http(spec: &str) -> Route {
    Route::clone(&route(&yaml("HTTPRoute", spec)))
}

pub(super) fn rule(rule: &str) -> Rule {
    let mut rules = http(&format!("rules: [{rule}]")).rules;
    assert_eq!(rules.len(), 1);
    rules.remove(0)
}

/// Table: a rule, and how the only error of its route begins.
pub(super) fn assert_rule_errors(table: &[(&str, &str)]) {
    for (rule, expected) in table {
        let spec = format!("rules: [{rule}]");
        assert_spec_errors("HTTPRoute", &[(&spec, expected)]);
    }
}

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.into())
}

#[test]
fn without_rules_everything_matches_and_leads_nowhere() {
    let route = http("");
    assert_eq!(
        (route.kind, &*route.name.namespace),
        (RouteKind::Http, "shop")
    );
    assert_eq!(route.rules, [Rule::default()]);
    assert_spec_errors("HTTPRoute", &[("rules: []", "spec.rules: is required")]);
}

#[test]
fn paths() {
    for (path, expected) in [
        ("{}", PathMatch::Prefix("/".into())),
        ("{value: /}", PathMatch::Prefix("/".into())),
        ("{value: /a/b/}", PathMatch::Prefix("/a/b".into())),
        (
            "{type: PathPrefix, value: /a}",
            PathMatch::Prefix("/a".into()),
        ),
        ("{type: Exact, value: /a/}", PathMatch::Exact("/a/".into())),
        (
            "{type: Exact, value: '/%41;=1'}",
            PathMatch::Exact("/%41;=1".into()),
        ),
    ] {
        let rule = rule(&format!("{{matches: [{{path: {path}}}]}}"));
        assert_eq!(rule.matches[0].path, Some(expected), "{path}");
    }
    let rule = rule("{matches: [{path: {type: RegularExpression, value: '/(?i:a+)|/b'}}]}");
    let Some(PathMatch::Regex(pattern)) = &rule.matches[0].path else {
        panic!("{rule:?}");
    };
    assert!(pattern.is_match("/aA") && pattern.is_match("/b") && !pattern.is_match("/bb"));
}

#[test]
fn what_is_wrong_with_a_path() {
    for value in [
        "a", "''", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb", "'/a#b'",
        "/a?b", "'/a b'", "/ä", "/%4", "'/a\"'",
    ] {
        for kind in ["Exact", "PathPrefix"] {
            let rule = format!("{{matches: [{{}}, {{path: {{type: {kind}, value: {value}}}}}]}}");
            assert_rule_errors(&[(&rule, "spec.rules[0].matches[1].path.value: ")]);
        }
    }
    let long = format!("{{matches: [{{path: {{value: /{}}}}}]}}", "a".repeat(1024));
    assert_rule_errors(&[
        (
            &long,
            "spec.rules[0].matches[0].path.value: is longer than 1024",
        ),
        (
            "{matches: [{path: {type: Prefix, value: /}}]}",
            "spec.rules[0].matches[0].path.type: \"Prefix\" is not one of Exact, PathPrefix, RegularExpression",
        ),
        (
            "{matches: [{path: {type: RegularExpression, value: '/(a'}}]}",
            "spec.rules[0].matches[0].path.value: \"/(a\" is not a regular expression",
        ),
        // Balanced only together with what stands around it.
        (
            "{matches: [{path: {type: RegularExpression, value: '/a)|(?:.*'}}]}",
            "spec.rules[0].matches[0].path.value: ",
        ),
        (
            "{matches: [{path: {type: RegularExpression, value: '(a{1000}){1000}'}}]}",
            "spec.rules[0].matches[0].path.value: ",
        ),
        (
            "{matches: [{path: {value: 7}}]}",
            "spec.rules[0].matches[0].path.value: invalid type",
        ),
        (
            "{matches: [{paths: {value: /}}]}",
            "spec.rules[0].matches[0].paths: unknown field `paths`",
        ),
    ]);
}

#[test]
fn headers_query_and_method() {
    let rule = rule(
        "{matches: [{
            method: PATCH,
            headers: [
              {name: X-Env, value: canary},
              {name: x-env, value: ignored},
              {name: cookie, type: RegularExpression, value: '.*a=1.*'}],
            queryParams: [
              {name: q, value: '1'},
              {name: Q, value: '2'},
              {name: q, value: '3'},
              {name: r, type: RegularExpression, value: '[0-9]+'}]}]}",
    );
    let request = &rule.matches[0];
    assert_eq!(request.path, None);
    assert_eq!(request.method, Some(Method::PATCH));
    let headers: Vec<&str> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(headers, ["x-env", "cookie"]);
    assert_eq!(request.headers[0].1, exact("canary"));
    assert!(matches!(&request.headers[1].1, TextMatch::Regex(p) if p.is_match("b=2; a=1")));
    let query: Vec<&str> = request.query.iter().map(|(name, _)| &**name).collect();
    assert_eq!(query, ["q", "Q", "r"]);
    assert_eq!(request.query[0].1, exact("1"));
    assert_rule_errors(&[
        (
            "{matches: [{method: get}]}",
            "spec.rules[0].matches[0].method: \"get\" is not one of GET, HEAD",
        ),
        (
            "{matches: [{headers: [{name: ':path', value: a}]}]}",
            "spec.rules[0].matches[0].headers[0].name: \":path\" is not the name of an HTTP header",
        ),
        (
            "{matches: [{headers: [{name: '', value: a}]}]}",
            "spec.rules[0].matches[0].headers[0].name: ",
        ),
        (
            "{matches: [{headers: [{name: a, value: ''}]}]}",
            "spec.rules[0].matches[0].headers[0].value: is required",
        ),
        (
            "{matches: [{headers: [{name: a}]}]}",
            "spec.rules[0].matches[0].headers[0]: missing field `value`",
        ),
        (
            "{matches: [{headers: [{name: a, value: a, type: Prefix}]}]}",
            "spec.rules[0].matches[0].headers[0].type: \"Prefix\"",
        ),
        (
            "{matches: [{headers: [{name: a, value: '[', type: RegularExpression}]}]}",
            "spec.rules[0].matches[0].headers[0].value: \"[\" is not a regular expression",
        ),
        (
            "{matches: [{queryParams: [{name: 'a b', value: c}]}]}",
            "spec.rules[0].matches[0].queryParams[0].name: ",
        ),
        (
            "{matches: [{queryParams: [{name: a, value: ''}]}]}",
            "spec.rules[0].matches[0].queryParams[0].value: is required",
        ),
        (
            "{matches: [{header: [{name: a, value: b}]}]}",
            "spec.rules[0].matches[0].header: unknown field `header`",
        ),
    ]);
}

#[test]
fn lists_are_bounded() {
    let list = |item: &str, count: usize| vec![item; count].join(", ");
    let header = |count| {
        format!(
            "{{matches: [{{headers: [{}]}}]}}",
            list("{name: a, value: b}", count)
        )
    };
    let query = |count| {
        format!(
            "{{matches: [{{queryParams: [{}]}}]}}",
            list("{name: a, value: b}", count)
        )
    };
    let matches = |count| format!("{{matches: [{}]}}", list("{method: GET}", count));
    let backends = |count| format!("{{backendRefs: [{}]}}", list("{name: a, port: 80}", count));
    let parents = |count: usize| {
        let parents: Vec<String> = (0..count)
            .map(|i| format!("{{group: '', kind: Service, name: s{i}}}"))
            .collect();
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r}}, spec: {{parentRefs: [{}]}}}}",
            parents.join(", ")
        )
    };
    for (within, beyond, path) in [
        (
            header(16),
            header(17),
            "spec.rules[0].matches[0].headers: has more than 16",
        ),
        (
            query(16),
            query(17),
            "spec.rules[0].matches[0].queryParams: has more than 16",
        ),
        (
            matches(64),
            matches(65),
            "spec.rules[0].matches: has more than 64",
        ),
        (
            backends(16),
            backends(17),
            "spec.rules[0].backendRefs: has more than 16",
        ),
    ] {
        rule(&within);
        assert_rule_errors(&[(&beyond, path)]);
    }
    assert!(parse(&parents(32)).is_ok());
    assert_errors(&[(&parents(33), "spec.parentRefs: has more than 32")]);
    assert_eq!(
        http(&format!("rules: [{}]", list("{}", 16))).rules.len(),
        16
    );
    let full = list(&matches(64), 2);
    http(&format!("rules: [{full}]"));
    assert_spec_errors(
        "HTTPRoute",
        &[
            (
                &format!("rules: [{}]", list("{}", 17)),
                "spec.rules: has more than 16",
            ),
            (
                &format!("rules: [{full}, {}]", matches(1)),
                "spec.rules: have more than 128 matches",
            ),
        ],
    );
}
