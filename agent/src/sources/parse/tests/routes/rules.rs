//! Parents, backends, timeouts, names and sessions of HTTPRoutes.

use std::time::Duration;

use super::{
    assert_errors, assert_spec_errors, errors,
    http::{assert_rule_errors, http, rule},
    parse, route, yaml,
};
use crate::{
    model::route::{Backend, BackendRef, SessionBy, SessionPersistence},
    sources::parse::Manifest,
};

#[test]
fn parents_are_services() {
    let parents = |parents: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{parents}], rules: [{{filters: [{{type: ExtensionRef, extensionRef: {{}}}}]}}]}}}}"
        )
    };
    // No Service among them: whatever else the route says is not for the mesh to judge.
    for others in [
        "",
        "{name: gateway}",
        "{group: gateway.networking.k8s.io, kind: Gateway, name: a}",
        "{group: multicluster.x-k8s.io, kind: ServiceImport, name: a}",
    ] {
        let route = route(&parents(others));
        assert!(
            route.parents.is_empty() && route.rules.is_empty(),
            "{others}"
        );
    }
    let spec = |parents: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{parents}]}}}}"
        )
    };
    let route = route(&spec(
        "{name: gateway},
         {group: '', kind: Service, name: web, port: 80},
         {group: '', kind: Service, name: web, sectionName: admin},
         {group: '', kind: Service, name: pay, namespace: bank}",
    ));
    let parents: Vec<_> = route
        .parents
        .iter()
        .map(|parent| {
            (
                parent.service.to_string(),
                parent.port,
                parent.section.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        parents,
        [
            ("shop/web".to_owned(), Some(80), None),
            ("shop/web".to_owned(), None, Some("admin")),
            ("bank/pay".to_owned(), None, None),
        ]
    );
    for (parents, expected) in [
        // What is left out stands for the Gateway API's own group.
        ("{kind: Service, name: web}", "spec.parentRefs[0].group: "),
        (
            "{group: '', kind: Service, name: ''}",
            "spec.parentRefs[0].name: is required",
        ),
        (
            "{group: '', kind: Service, name: web, namespace: A}",
            "spec.parentRefs[0].namespace: \"A\" is not a name",
        ),
        (
            "{group: '', kind: Service, name: web, port: 0}",
            "spec.parentRefs[0].port: \"0\" is not a port",
        ),
        (
            "{group: '', kind: Service, name: web, sectionName: ''}",
            "spec.parentRefs[0].sectionName: is required",
        ),
        (
            "{group: '', kind: Service, name: web}, {group: '', kind: Service, name: web, namespace: shop}",
            "spec.parentRefs[1]: \"shop/web\" is there twice",
        ),
        (
            "{group: '', kind: Service, name: web, port: 80}, {group: '', kind: Service, name: web}",
            "spec.parentRefs[1]: \"shop/web\" is there twice",
        ),
        (
            "{group: '', kind: Service, name: web, ports: 80}",
            "spec.parentRefs[0].ports: unknown field",
        ),
    ] {
        assert_errors(&[(&spec(parents), expected)]);
    }
}

#[test]
fn backends() {
    let rule = rule(
        "{backendRefs: [
            {name: a, port: 80},
            {group: '', kind: Service, name: b, namespace: bank, port: 81, weight: 0},
            {name: c},
            {group: example.org, kind: Bucket, name: d, weight: 1000000}]}",
    );
    let targets: Vec<(String, u32)> = rule
        .backends
        .iter()
        .map(
            |Backend {
                 backend, weight, ..
             }| match backend {
                BackendRef::Service { name, port } => (format!("{name}:{port}"), *weight),
                BackendRef::Invalid(why) => (why.to_string(), *weight),
            },
        )
        .collect();
    assert_eq!(
        targets,
        [
            ("shop/a:80".to_owned(), 1),
            ("bank/b:81".to_owned(), 0),
            ("no port of Service shop/c is named".to_owned(), 1),
            (
                "Bucket of group \"example.org\" is not a kind of backend".to_owned(),
                1_000_000
            ),
        ]
    );
    assert_rule_errors(&[
        (
            "{backendRefs: [{name: a, port: 80}, {name: a, port: 65536}]}",
            "spec.rules[0].backendRefs[1].port: \"65536\" is not a port",
        ),
        (
            "{backendRefs: [{name: a, port: 80, weight: -1}]}",
            "spec.rules[0].backendRefs[0].weight: -1 is not a whole number from 0 to 1000000",
        ),
        (
            "{backendRefs: [{name: a, port: 80, weight: 1000001}]}",
            "spec.rules[0].backendRefs[0].weight: ",
        ),
        (
            "{backendRefs: [{name: '', port: 80}]}",
            "spec.rules[0].backendRefs[0].name: is required",
        ),
        (
            "{backendRefs: [{name: a, namespace: a.b, port: 80}]}",
            "spec.rules[0].backendRefs[0].namespace: ",
        ),
        (
            "{backendRefs: [{port: 80}]}",
            "spec.rules[0].backendRefs[0]: missing field `name`",
        ),
    ]);
}

#[test]
fn timeouts() {
    for (timeouts, request, backend) in [
        ("{}", None, None),
        // No limit, said on purpose.
        ("{request: 0s}", Some(0), None),
        ("{request: 0s, backendRequest: 1m}", Some(0), Some(60_000)),
        (
            "{request: 1s500ms, backendRequest: 1s500ms}",
            Some(1500),
            Some(1500),
        ),
    ] {
        let rule = rule(&format!("{{timeouts: {timeouts}}}"));
        assert_eq!(rule.timeouts.request, request.map(Duration::from_millis));
        assert_eq!(
            rule.timeouts.backend_request,
            backend.map(Duration::from_millis)
        );
    }
    assert_rule_errors(&[
        (
            "{timeouts: {request: 1.5s}}",
            "spec.rules[0].timeouts.request: a duration is written as",
        ),
        (
            "{timeouts: {request: 1s, backendRequest: 1001ms}}",
            "spec.rules[0].timeouts.backendRequest: is longer than",
        ),
        (
            "{timeouts: {idle: 1s}}",
            "spec.rules[0].timeouts.idle: unknown field",
        ),
    ]);
}

#[test]
fn rules_have_names() {
    let route = http("rules: [{name: a}, {}, {name: b.c}]");
    let names: Vec<_> = route
        .rules
        .iter()
        .map(|rule| rule.name.as_deref())
        .collect();
    assert_eq!(names, [Some("a"), None, Some("b.c")]);
    assert_spec_errors(
        "HTTPRoute",
        &[
            (
                "rules: [{name: a}, {name: a}]",
                "spec.rules[1].name: \"a\" is there twice",
            ),
            (
                "rules: [{name: A}]",
                "spec.rules[0].name: \"A\" is not a name",
            ),
        ],
    );
}

#[test]
fn sessions() {
    let session = |spec: &str| {
        rule(&format!("{{sessionPersistence: {spec}}}"))
            .session
            .unwrap()
    };
    assert_eq!(
        session(
            "{sessionName: sid, absoluteTimeout: 1h, idleTimeout: 5m, cookieConfig: {lifetimeType: Permanent}}"
        ),
        SessionPersistence {
            by: SessionBy::Cookie { permanent: true },
            name: "sid".into(),
            absolute_timeout: Some(Duration::from_secs(3600)),
            idle_timeout: Some(Duration::from_secs(300)),
        }
    );
    assert_eq!(
        session("{type: Header, sessionName: X-Sid}").by,
        SessionBy::Header
    );
    let own = session("{}");
    assert_eq!(own.by, SessionBy::Cookie { permanent: false });
    // Written down: agents of different versions must agree.
    assert_eq!(&*own.name, "weir-session-053f21150c5cabb1");
    let rules = http("rules: [{sessionPersistence: {}}, {sessionPersistence: {}}]").rules;
    assert_eq!(rules[0].session.as_ref().unwrap().name, own.name);
    assert_ne!(rules[1].session.as_ref().unwrap().name, own.name);
    let long = format!(
        "{{sessionPersistence: {{sessionName: {}}}}}",
        "a".repeat(129)
    );
    assert_rule_errors(&[
        (
            &long,
            "spec.rules[0].sessionPersistence.sessionName: is longer than 128",
        ),
        (
            "{sessionPersistence: {sessionName: 'a b'}}",
            "spec.rules[0].sessionPersistence.sessionName: ",
        ),
        (
            "{sessionPersistence: {type: IP}}",
            "spec.rules[0].sessionPersistence.type: \"IP\" is not one of Cookie, Header",
        ),
        (
            "{sessionPersistence: {absoluteTimeout: long}}",
            "spec.rules[0].sessionPersistence.absoluteTimeout: a duration",
        ),
        (
            "{sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}}",
            "spec.rules[0].sessionPersistence.absoluteTimeout: is required",
        ),
        (
            "{sessionPersistence: {cookieConfig: {lifetimeType: Always}}}",
            "spec.rules[0].sessionPersistence.cookieConfig.lifetimeType: \"Always\"",
        ),
        (
            "{sessionPersistence: {type: Header, cookieConfig: {}}}",
            "spec.rules[0].sessionPersistence.cookieConfig: cannot be together with type Header",
        ),
    ]);
}

#[test]
fn host_names_are_checked_and_do_not_count() {
    assert!(
        http("hostnames: [web.example.org, '*.example.org', web]")
            .hostnames
            .is_empty()
    );
    assert_spec_errors(
        "HTTPRoute",
        &[
            ("hostnames: [a, A.example]", "spec.hostnames[1]: "),
            (
                "hostnames: [10.0.0.1]",
                "spec.hostnames[0]: \"10.0.0.1\" is an address",
            ),
            ("hostnames: ['*']", "spec.hostnames[0]: "),
            ("hostnames: [a.*.example]", "spec.hostnames[0]: "),
        ],
    );
}

#[test]
fn what_is_accepted_and_not_acted_upon() {
    http("useDefaultGateways: All, rules: [{}]");
    assert_spec_errors(
        "HTTPRoute",
        &[("rule: []", "spec.rule: unknown field `rule`")],
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let yaml = yaml(
        "HTTPRoute",
        "rules: [{matches: [{path: {value: a}}]}, {timeouts: {request: x}, backendRefs: [{name: a, port: 0}]}]",
    );
    let errors = errors(&yaml);
    let paths: Vec<&str> = errors
        .iter()
        .filter_map(|e| e.split_once(": "))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        paths,
        [
            "spec.rules[0].matches[0].path.value",
            "spec.rules[1].backendRefs[0].port",
            "spec.rules[1].timeouts.request",
        ]
    );
    let rejected = parse(&yaml).expect_err(&yaml);
    assert_eq!(rejected.key.unwrap().name.to_string(), "shop/r");
    assert!(rejected.instead.is_none());
}

#[test]
fn a_spec_is_required() {
    assert_errors(&[(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}}",
        "spec: is required",
    )]);
    let created = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a, creationTimestamp: '2026-01-31T12:00:00Z'}, spec: {parentRefs: [{group: '', kind: Service, name: web}]}, status: {parents: []}}";
    assert!(matches!(parse(created), Ok(Manifest::Object(..))));
    assert!(route(created).created.is_some());
}
