use std::time::Instant;

use http::{HeaderName, Method};

use crate::{
    admin::config::describe,
    model::{
        fold::{
            Fold,
            tests::build::{Build, backend_ref, name, parent_ref, route, rule},
        },
        resource::Delta,
        route::{
            Backend, BackendRef, Filters, Mirror, PathMatch, RequestMatch, Rewrite, RouteKind,
            TextMatch,
        },
    },
};

#[test]
fn routes_are_shown_in_the_order_in_which_they_are_asked() {
    let mut http = route(RouteKind::Http, "shop/web", "shop/web");
    http.rules = vec![rule(["shop/a"]), rule(["bank/b"])];
    let rewrite = Rewrite {
        hostname: None,
        path: None,
    };
    let canary = &mut http.rules[1];
    canary.name = Some("canary".into());
    canary.matches = vec![RequestMatch {
        path: Some(PathMatch::Prefix("/a".into())),
        method: Some(Method::GET),
        headers: vec![(HeaderName::from_static("x-a"), TextMatch::Exact("1".into()))],
        query: Vec::new(),
    }];
    canary.filters.rewrite = Some(rewrite);
    canary.backends.push(Backend {
        backend: BackendRef::Invalid("no port".into()),
        weight: 3,
        filters: Filters {
            mirrors: vec![Mirror {
                backend: backend_ref("bank/m"),
                numerator: 1,
                denominator: 10,
            }],
            ..Filters::default()
        },
    });
    let mut tls = route(RouteKind::Tls, "client/tls", "shop/web");
    tls.parents = vec![parent_ref("shop/web", Some(443))];
    tls.hostnames = vec!["*.example".into()];
    tls.rules = vec![rule(["client/a"])];
    let mut fold = Fold::new("cluster.local", "n1");
    let changes = vec![http.upsert(), tls.upsert()];
    let delta = Delta {
        changes,
        ..Delta::default()
    };
    let snapshot = fold.apply(delta, Instant::now());
    assert!(snapshot.routes(&name("shop/web")).is_some());

    let json = describe(&snapshot);
    assert_eq!(json["counts"]["routedServices"], 1);
    let service = &json["routes"][0];
    assert_eq!(service["service"], "shop/web");
    let producer = &service["tables"][0];
    assert!(producer["clientNamespace"].is_null() && producer["port"].is_null());
    let first = &producer["http"][0];
    assert_eq!(first["route"], "HTTPRoute/shop/web");
    assert_eq!(first["rule"], "canary");
    assert_eq!(
        first["match"].to_string(),
        r#"{"headers":{"x-a":{"exact":"1"}},"method":"GET","path":{"pathPrefix":"/a"}}"#
    );
    assert_eq!(first["filters"].to_string(), r#"["URLRewrite"]"#);
    assert_eq!(first["backends"][0]["service"], "bank/b:80");
    let refused = first["backends"][0]["refused"].as_str().unwrap();
    assert!(
        refused.starts_with("no ReferenceGrant in bank"),
        "{refused}"
    );
    assert_eq!(first["backends"][1]["refused"], "no port");
    assert_eq!(first["backends"][1]["weight"], 3);
    let mirror = &first["backends"][1]["mirrors"][0];
    assert_eq!(
        (&mirror["service"], &mirror["share"]),
        (&"bank/m:80".into(), &"1/10".into())
    );
    assert!(mirror["refused"].is_string());
    assert_eq!(producer["http"][1]["match"].to_string(), "{}");
    assert!(producer["http"][1]["backends"][0]["refused"].is_null());
    let consumer = &service["tables"][1];
    assert_eq!(
        (&consumer["clientNamespace"], &consumer["port"]),
        (&"client".into(), &443.into())
    );
    assert_eq!(consumer["tls"][0]["match"]["sni"], "*.example");
}
