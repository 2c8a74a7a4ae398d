//! TCPRoutes, TLSRoutes and ReferenceGrants.

use std::sync::Arc;

use super::{assert_errors, assert_spec_errors, route, yaml};
use crate::model::{
    resource::Resource,
    route::{BackendRef, ReferenceGrant, RouteKind},
};

#[test]
fn tcp_routes() {
    let route = route(&yaml(
        "TCPRoute",
        "rules: [{name: a, backendRefs: [{name: a, port: 80, weight: 3}, {name: b, port: 81}]}]",
    ));
    assert_eq!(route.kind, RouteKind::Tcp);
    let backends = &route.rules[0].backends;
    assert_eq!(
        backends.iter().map(|b| b.weight).collect::<Vec<_>>(),
        [3, 1]
    );
    assert!(
        matches!(&backends[1].backend, BackendRef::Service { name, port: 81 } if name.to_string() == "shop/b")
    );
}

#[test]
fn what_is_wrong_with_a_tcp_or_tls_route() {
    for (kind, more) in [("TCPRoute", ""), ("TLSRoute", "hostnames: [a.example], ")] {
        for (rules, expected) in [
            ("rules: []", "spec.rules: is required"),
            ("rules: [{}]", "spec.rules[0].backendRefs: is required"),
            (
                "rules: [{backendRefs: []}]",
                "spec.rules[0].backendRefs: is required",
            ),
            (
                "rules: [{backendRefs: [{name: a, port: 80, filters: []}]}]",
                "spec.rules[0].backendRefs[0].filters: is not supported",
            ),
            (
                "rules: [{backendRefs: [{name: a, port: 80, weight: -1}]}]",
                "spec.rules[0].backendRefs[0].weight: -1",
            ),
            (
                "rules: [{matches: []}]",
                "spec.rules[0].matches: unknown field",
            ),
        ] {
            assert_spec_errors(kind, &[(&format!("{more}{rules}"), expected)]);
        }
    }
}

#[test]
fn tls_routes() {
    let rules = "rules: [{backendRefs: [{name: a, port: 443}]}]";
    let parsed = route(&yaml(
        "TLSRoute",
        &format!("hostnames: [a.example, '*.b.example'], {rules}"),
    ));
    assert_eq!(parsed.kind, RouteKind::Tls);
    let hostnames: Vec<&str> = parsed.hostnames.iter().map(|h| &**h).collect();
    assert_eq!(hostnames, ["a.example", "*.b.example"]);
    let many = |count| format!("hostnames: [{}], {rules}", vec!["a"; count].join(", "));
    assert_eq!(route(&yaml("TLSRoute", &many(1024))).hostnames.len(), 1024);
    assert_spec_errors(
        "TLSRoute",
        &[
            (rules, "spec.hostnames: is required"),
            (&many(1025), "spec.hostnames: has more than 1024"),
            (
                &format!("hostnames: [a, B], {rules}"),
                "spec.hostnames[1]: ",
            ),
            (&format!("hostnames: ['*'], {rules}"), "spec.hostnames[0]: "),
            (
                &format!("hostnames: ['192.0.2.1'], {rules}"),
                "spec.hostnames[0]: \"192.0.2.1\" is an address",
            ),
        ],
    );
    // Its first version let them be left out.
    let old = yaml("TLSRoute", rules).replace("k8s.io/v1,", "k8s.io/v1alpha2,");
    assert!(route(&old).hostnames.is_empty());
}

fn grant(spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {{name: g, namespace: bank}}, spec: {spec}}}"
    )
}

#[test]
fn reference_grants() {
    let parsed = |spec: &str| -> Arc<ReferenceGrant> {
        match super::resource(&grant(spec)) {
            Resource::ReferenceGrant(grant) => grant,
            other => panic!("{other:?}"),
        }
    };
    let some = parsed(
        "{from: [
            {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop},
            {group: gateway.networking.k8s.io, kind: TLSRoute, namespace: front},
            {group: gateway.networking.k8s.io, kind: Gateway, namespace: shop},
            {group: example.org, kind: HTTPRoute, namespace: shop}],
          to: [{group: '', kind: Service, name: pay}, {group: '', kind: Secret}, {group: '', kind: Service}]}",
    );
    assert_eq!(some.name.to_string(), "bank/g");
    assert_eq!(
        some.from,
        [
            (RouteKind::Http, "shop".into()),
            (RouteKind::Tls, "front".into())
        ]
    );
    assert_eq!(some.to, [Some("pay".into()), None]);
    let from = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]";
    let to = "to: [{group: '', kind: Service}]";
    let many = vec!["{group: '', kind: Service}"; 17].join(", ");
    for (spec, expected) in [
        (format!("{{{from}}}"), "spec.to: is required"),
        (format!("{{{to}}}"), "spec.from: is required"),
        (format!("{{from: [], {to}}}"), "spec.from: is required"),
        (
            format!("{{{from}, to: [{many}]}}"),
            "spec.to: has more than 16",
        ),
        (
            format!("{{from: [{{group: a, kind: b, namespace: C}}], {to}}}"),
            "spec.from[0].namespace: \"C\" is not a name",
        ),
        (
            format!("{{from: [{{group: a, kind: b}}], {to}}}"),
            "spec.from[0]: missing field `namespace`",
        ),
        (
            format!("{{{from}, to: [{{group: '', kind: Service, name: ''}}]}}"),
            "spec.to[0].name: is required",
        ),
        (
            format!("{{{from}, {to}, more: 1}}"),
            "spec.more: unknown field",
        ),
    ] {
        assert_errors(&[(&grant(&spec), expected)]);
    }
}
