//! Filters of HTTPRoutes and GRPCRoutes, on rules and on backends.

use http::StatusCode;

use super::{assert_spec_errors, route, yaml};
use crate::model::route::{BackendRef, Filters, Mirror, PathModifier, Redirect, Rewrite, Scheme};

pub(super) fn of_kind(kind: &str, filters: &str) -> Filters {
    let route = route(&yaml(kind, &format!("rules: [{{filters: [{filters}]}}]")));
    route.rules[0].filters.clone()
}

pub(super) fn http(filters: &str) -> Filters {
    of_kind("HTTPRoute", filters)
}

/// Table: the only filter, and how the only error begins after `spec.rules[0].filters[0].`.
pub(super) fn assert_filter_errors(kind: &str, table: &[(&str, &str)]) {
    for (filter, expected) in table {
        let spec = format!("rules: [{{filters: [{filter}]}}]");
        let expected = format!("spec.rules[0].filters[0].{expected}");
        assert_spec_errors(kind, &[(&spec, &expected)]);
    }
}

#[test]
fn redirects() {
    assert_eq!(
        http("{type: RequestRedirect, requestRedirect: {}}").redirect,
        Some(Redirect {
            scheme: None,
            hostname: None,
            path: None,
            port: None,
            status: StatusCode::FOUND,
        })
    );
    assert_eq!(
        http(
            "{type: RequestRedirect, requestRedirect: {scheme: https, hostname: b.example, port: 8443,
              path: {type: ReplaceFullPath, replaceFullPath: /b}, statusCode: 308}}"
        )
        .redirect,
        Some(Redirect {
            scheme: Some(Scheme::Https),
            hostname: Some("b.example".into()),
            path: Some(PathModifier::Full("/b".into())),
            port: Some(8443),
            status: StatusCode::PERMANENT_REDIRECT,
        })
    );
    for status in [301, 302, 303, 307, 308] {
        let filters = http(&format!(
            "{{type: RequestRedirect, requestRedirect: {{statusCode: {status}}}}}"
        ));
        assert_eq!(filters.redirect.unwrap().status.as_u16(), status);
    }
    for (spec, expected) in [
        (
            "{scheme: ftp}",
            "requestRedirect.scheme: \"ftp\" is not one of http, https",
        ),
        (
            "{statusCode: 304}",
            "requestRedirect.statusCode: \"304\" is not one of 301",
        ),
        ("{port: 0}", "requestRedirect.port: \"0\" is not a port"),
        ("{hostname: '*.example'}", "requestRedirect.hostname: "),
        (
            "{hostname: 10.0.0.1}",
            "requestRedirect.hostname: \"10.0.0.1\" is an address",
        ),
        ("{host: a}", "requestRedirect.host: unknown field"),
    ] {
        let filter = format!("{{type: RequestRedirect, requestRedirect: {spec}}}");
        assert_filter_errors("HTTPRoute", &[(&filter, expected)]);
    }
}

#[test]
fn rewrites() {
    for (path, expected) in [
        (
            "{type: ReplaceFullPath, replaceFullPath: /b}",
            PathModifier::Full("/b".into()),
        ),
        (
            "{type: ReplacePrefixMatch, replacePrefixMatch: /b/}",
            PathModifier::Prefix("/b/".into()),
        ),
        (
            "{type: ReplacePrefixMatch, replacePrefixMatch: ''}",
            PathModifier::Prefix("".into()),
        ),
    ] {
        let filters = http(&format!(
            "{{type: URLRewrite, urlRewrite: {{hostname: b, path: {path}}}}}"
        ));
        let expected = Rewrite {
            hostname: Some("b".into()),
            path: Some(expected),
        };
        assert_eq!(filters.rewrite, Some(expected));
    }
    let long = format!(
        "{{type: ReplaceFullPath, replaceFullPath: /{}}}",
        "a".repeat(1024)
    );
    for (path, expected) in [
        (
            "{type: Full}",
            "type: \"Full\" is not one of ReplaceFullPath",
        ),
        ("{type: ReplaceFullPath}", "replaceFullPath: is required"),
        (
            "{type: ReplacePrefixMatch}",
            "replacePrefixMatch: is required",
        ),
        (
            "{type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b}",
            "replacePrefixMatch: cannot be together with type ReplaceFullPath",
        ),
        (
            "{type: ReplaceFullPath, replaceFullPath: a}",
            "replaceFullPath: \"a\" is not a path",
        ),
        (
            "{type: ReplaceFullPath, replaceFullPath: ''}",
            "replaceFullPath: \"\" is not a path",
        ),
        (
            "{type: ReplacePrefixMatch, replacePrefixMatch: '/a b'}",
            "replacePrefixMatch: ",
        ),
        (
            "{type: ReplacePrefixMatch, replacePrefixMatch: '/a?b'}",
            "replacePrefixMatch: ",
        ),
        (&long, "replaceFullPath: is longer than 1024"),
    ] {
        let filter = format!("{{type: URLRewrite, urlRewrite: {{path: {path}}}}}");
        assert_filter_errors(
            "HTTPRoute",
            &[(&filter, &format!("urlRewrite.path.{expected}"))],
        );
    }
}

#[test]
fn a_prefix_is_replaced_where_one_is_matched() {
    let rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}";
    let redirect = "{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}";
    let rules = |matches: &str| {
        [
            format!("rules: [{{{matches}filters: [{rewrite}]}}]"),
            format!("rules: [{{{matches}filters: [{redirect}]}}]"),
            format!(
                "rules: [{{{matches}backendRefs: [{{name: a, port: 80}}, {{name: a, port: 80, filters: [{rewrite}]}}]}}]"
            ),
            format!(
                "rules: [{{{matches}backendRefs: [{{name: a, port: 80, filters: [{redirect}]}}]}}]"
            ),
        ]
    };
    for matches in [
        "",
        "matches: [{path: {value: /a}}], ",
        "matches: [{method: GET}], ",
    ] {
        for spec in rules(matches) {
            route(&yaml("HTTPRoute", &spec));
        }
    }
    for matches in [
        "matches: [{path: {type: Exact, value: /a}}], ",
        "matches: [{path: {type: RegularExpression, value: /a}}], ",
        "matches: [{path: {value: /a}}, {path: {value: /c}}], ",
    ] {
        for spec in rules(matches) {
            let expected = "spec.rules[0].matches: must be one match of type PathPrefix";
            assert_spec_errors("HTTPRoute", &[(&spec, expected)]);
        }
    }
}

#[test]
fn mirrors() {
    let mirrors = |kind: &str, specs: &[&str]| {
        let filters: Vec<String> = specs
            .iter()
            .map(|spec| format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: m, port: 80}}{spec}}}}}"))
            .collect();
        of_kind(kind, &filters.join(", ")).mirrors
    };
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let shares: Vec<_> = mirrors(
            kind,
            &[
                "",
                ", percent: 0",
                ", percent: 42",
                ", fraction: {numerator: 1}",
                ", fraction: {numerator: 1, denominator: 1000}",
            ],
        )
        .iter()
        .map(|mirror| (mirror.numerator, mirror.denominator))
        .collect();
        assert_eq!(
            shares,
            [(100, 100), (0, 100), (42, 100), (1, 100), (1, 1000)]
        );
    }
    let filters = http(
        "{type: RequestMirror, requestMirror: {backendRef: {group: a, kind: B, name: c, namespace: bank}}}",
    );
    assert!(matches!(
        &filters.mirrors[..],
        [Mirror { backend: BackendRef::Invalid(why), .. }] if why.starts_with("B of group \"a\"")
    ));
    for (spec, expected) in [
        (
            "percent: 101",
            "percent: 101 is not a whole number from 0 to 100",
        ),
        ("percent: -1", "percent: -1"),
        (
            "percent: 1, fraction: {numerator: 1}",
            "fraction: cannot be together with percent",
        ),
        (
            "fraction: {numerator: 2, denominator: 1}",
            "fraction.numerator: 2 is not",
        ),
        ("fraction: {numerator: -1}", "fraction.numerator: -1"),
        (
            "fraction: {numerator: 0, denominator: 0}",
            "fraction.denominator: 0",
        ),
        (
            "fraction: {denominator: 1}",
            "fraction: missing field `numerator`",
        ),
    ] {
        let filter = format!(
            "{{type: RequestMirror, requestMirror: {{backendRef: {{name: m, port: 80}}, {spec}}}}}"
        );
        assert_filter_errors(
            "HTTPRoute",
            &[(&filter, &format!("requestMirror.{expected}"))],
        );
    }
    assert_filter_errors(
        "HTTPRoute",
        &[
            (
                "{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 99999}}}",
                "requestMirror.backendRef.port: \"99999\" is not a port",
            ),
            (
                "{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80, weight: 1}}}",
                "requestMirror.backendRef.weight: unknown field",
            ),
        ],
    );
}

#[test]
fn a_filter_has_the_field_of_its_type() {
    assert_filter_errors(
        "HTTPRoute",
        &[
            (
                "{type: Rewrite}",
                "type: \"Rewrite\" is not one of RequestHeaderModifier",
            ),
            (
                "{type: ExtensionRef, extensionRef: {}}",
                "type: is not supported",
            ),
            (
                "{type: ExternalAuth, externalAuth: {}}",
                "type: is not supported",
            ),
            ("{type: CORS}", "cors: is required"),
            ("{type: RequestMirror}", "requestMirror: is required"),
            (
                "{type: CORS, cors: {}, urlRewrite: {}}",
                "urlRewrite: cannot be together with type CORS",
            ),
        ],
    );
    assert_filter_errors(
        "GRPCRoute",
        &[
            (
                "{type: CORS, cors: {}}",
                "type: \"CORS\" is not one of RequestHeaderModifier",
            ),
            (
                "{type: RequestRedirect, requestRedirect: {}}",
                "type: \"RequestRedirect\"",
            ),
            ("{type: URLRewrite, urlRewrite: {}}", "type: \"URLRewrite\""),
        ],
    );
}

#[test]
fn filters_that_exclude_each_other() {
    let redirect = "{type: RequestRedirect, requestRedirect: {}}";
    let rewrite = "{type: URLRewrite, urlRewrite: {}}";
    let cors = "{type: CORS, cors: {}}";
    let spec = |filters: &[&str]| format!("rules: [{{filters: [{}]}}]", filters.join(", "));
    let backends = |filters: &[&str]| {
        format!(
            "rules: [{{backendRefs: [{{name: a, port: 80, filters: [{}]}}]}}]",
            filters.join(", ")
        )
    };
    let seventeen =
        vec!["{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}}}"; 17];
    assert_spec_errors(
        "HTTPRoute",
        &[
            (
                &spec(&[redirect, rewrite]),
                "spec.rules[0].filters[1].type: cannot be together with RequestRedirect",
            ),
            (
                &spec(&[rewrite, redirect]),
                "spec.rules[0].filters[1].type: cannot be together with URLRewrite",
            ),
            (
                &spec(&[cors, rewrite, cors]),
                "spec.rules[0].filters[2].type: \"CORS\" is there twice",
            ),
            (
                &backends(&[rewrite, rewrite]),
                "spec.rules[0].backendRefs[0].filters[1].type: \"URLRewrite\" is there twice",
            ),
            (
                &format!(
                    "rules: [{{filters: [{redirect}], backendRefs: [{{name: a, port: 80}}]}}]"
                ),
                "spec.rules[0].backendRefs: cannot be together with a RequestRedirect",
            ),
            (&spec(&seventeen), "spec.rules[0].filters: has more than 16"),
        ],
    );
    assert_eq!(http(&vec![seventeen[0]; 16].join(", ")).mirrors.len(), 16);
}
