//! Routes: for whom, for which port, in which order, and whether they may refer.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::Method;

use super::{
    World,
    build::{Build, backend_ref, grant, name, parent_ref, remove, route, rule, service},
};
use crate::model::{
    resource::Kind,
    route::{Filters, Mirror, PathMatch, RequestMatch, Route, RouteKind, RouteTable, Rule},
    service::ServicePort,
    snapshot::Snapshot,
};

/// An HTTPRoute with one rule that leads to the Service `to`.
fn http(text: &str, parent: &str, to: &str) -> Route {
    let mut route = route(RouteKind::Http, text, parent);
    route.rules = vec![rule([to])];
    route
}

fn table(
    snapshot: &Snapshot,
    service: &str,
    port: u16,
    namespace: &str,
) -> Option<Arc<RouteTable>> {
    let routes = snapshot.routes(&name(service))?;
    routes.table(port, namespace).cloned()
}

/// `route/rule/match` of the HTTP entries, in order.
fn order(snapshot: &Snapshot, service: &str, port: u16, namespace: &str) -> Vec<String> {
    let Some(table) = table(snapshot, service, port, namespace) else {
        return Vec::new();
    };
    let show = |entry: &crate::model::route::RouteEntry| {
        let (rule, matched) = (&entry.rule, entry.matched);
        let matched = matched.map_or_else(|| "-".to_owned(), |index| index.to_string());
        format!("{} {} {matched}", rule.route.name, rule.rule_label)
    };
    table.http.iter().map(show).collect()
}

fn matching(paths: &[&str]) -> Rule {
    let request = |path: &&str| RequestMatch {
        path: Some(PathMatch::Prefix((*path).into())),
        ..RequestMatch::default()
    };
    Rule {
        matches: paths.iter().map(request).collect(),
        ..Rule::default()
    }
}

#[test]
fn a_consumer_route_acts_for_its_own_namespace_alone() {
    let mut world = World::new();
    let snapshot = world.apply([
        http("shop/producer", "shop/web", "shop/a").upsert(),
        http("client/consumer", "shop/web", "client/b").upsert(),
    ]);
    let of = |namespace| order(&snapshot, "shop/web", 80, namespace);
    assert_eq!(of("client"), ["client/consumer 0 -"]);
    assert_eq!(of("shop"), ["shop/producer 0 -"]);
    assert_eq!(of("other"), ["shop/producer 0 -"]);
    // For one port: on the others the producer's word still counts.
    let mut of_port = http("client/consumer", "shop/web", "client/b");
    of_port.parents = vec![parent_ref("shop/web", Some(81))];
    let snapshot = world.apply([of_port.upsert()]);
    assert_eq!(
        order(&snapshot, "shop/web", 80, "client"),
        ["shop/producer 0 -"]
    );
    assert_eq!(
        order(&snapshot, "shop/web", 81, "client"),
        ["client/consumer 0 -"]
    );
    let snapshot = world.apply([
        remove(Kind::HttpRoute, "client/consumer"),
        remove(Kind::HttpRoute, "shop/producer"),
    ]);
    assert!(snapshot.service_routes().is_empty());
}

#[test]
fn a_port_has_its_own_routes_and_those_of_every_port() {
    let mut of_port = http("shop/of-80", "shop/web", "shop/a");
    of_port.parents = vec![parent_ref("shop/web", Some(80))];
    let snapshot = World::new().apply([
        http("shop/of-all", "shop/web", "shop/a").upsert(),
        of_port.upsert(),
    ]);
    let on = |port| order(&snapshot, "shop/web", port, "any");
    assert_eq!(on(80), ["shop/of-80 0 -", "shop/of-all 0 -"]);
    assert_eq!(on(81), ["shop/of-all 0 -"]);
    let mut only = http("shop/only", "shop/web", "shop/a");
    only.parents = vec![
        parent_ref("shop/web", Some(80)),
        parent_ref("shop/web", Some(82)),
    ];
    let snapshot = World::new().apply([only.upsert()]);
    let on = |port| order(&snapshot, "shop/web", port, "any").len();
    assert_eq!((on(80), on(81), on(82)), (1, 0, 1));
}

#[test]
fn a_section_is_the_name_of_a_port() {
    let ports = |number| {
        let mut web = service("shop/web", "10.96.0.1");
        web.ports = vec![ServicePort {
            name: "admin".into(),
            port: number,
            app_protocol: None,
        }];
        web
    };
    let mut world = World::new();
    let mut named = http("shop/r", "shop/web", "shop/a");
    named.parents[0].section = Some("admin".into());
    let on =
        |snapshot: &Snapshot| [80, 81].map(|port| order(snapshot, "shop/web", port, "any").len());
    // The Service comes later, renumbers its port, and goes.
    assert_eq!(on(&world.apply([named.clone().upsert()])), [0, 0]);
    assert_eq!(on(&world.apply([ports(80).upsert()])), [1, 0]);
    assert_eq!(on(&world.apply([ports(81).upsert()])), [0, 1]);
    // Name and number must be of one port.
    named.parents[0].port = Some(80);
    assert_eq!(on(&world.apply([named.clone().upsert()])), [0, 0]);
    assert_eq!(on(&world.apply([ports(80).upsert()])), [1, 0]);
    assert_eq!(
        on(&world.apply([remove(Kind::Service, "shop/web")])),
        [0, 0]
    );
}

/// Gateway API: specificity across all routes, then the oldest route, then its name, then the
/// order of its rules and of their matches.
#[test]
fn the_order_of_matches() {
    let aged = |text: &str, age: Option<u64>, rules: Vec<Rule>| {
        let mut route = route(RouteKind::Http, text, "shop/web");
        route.created = age.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        route.rules = rules;
        route.upsert()
    };
    let mut by_method = matching(&["/a"]);
    by_method.matches[0].method = Some(Method::GET);
    by_method.name = Some("get".into());
    let snapshot = World::new().apply([
        aged(
            "shop/unknown",
            None,
            vec![matching(&["/a"]), matching(&["/longer"])],
        ),
        aged("shop/young", Some(2), vec![matching(&["/a", "/b"])]),
        aged("shop/old-b", Some(1), vec![matching(&["/a"])]),
        aged(
            "shop/old-a",
            Some(1),
            vec![matching(&["/", "/b"]), by_method, matching(&["/a"])],
        ),
    ]);
    assert_eq!(
        order(&snapshot, "shop/web", 80, "any"),
        [
            "shop/unknown 1 0",
            "shop/old-a get 0",
            "shop/old-a 0 1",
            "shop/old-a 2 0",
            "shop/old-b 0 0",
            "shop/young 0 0",
            "shop/young 0 1",
            "shop/unknown 0 0",
            "shop/old-a 0 0",
        ]
    );
}

#[test]
fn each_kind_has_its_place() {
    let of_kind = |kind, text: &str, age| {
        let mut route = route(kind, text, "shop/web");
        route.created = Some(UNIX_EPOCH + Duration::from_secs(age));
        route.rules = vec![rule(["shop/a"]), rule(["shop/b"])];
        route
    };
    let tls = |text: &str, age, hostnames: &[&str]| {
        let mut route = of_kind(RouteKind::Tls, text, age);
        route.hostnames = hostnames
            .iter()
            .map(|hostname| (*hostname).into())
            .collect();
        route.upsert()
    };
    let snapshot = World::new().apply([
        of_kind(RouteKind::Tcp, "shop/younger", 2).upsert(),
        of_kind(RouteKind::Tcp, "shop/older", 1).upsert(),
        of_kind(RouteKind::Grpc, "shop/grpc", 1).upsert(),
        of_kind(RouteKind::Http, "shop/http", 1).upsert(),
        tls("shop/any", 1, &[]),
        tls("shop/a", 3, &["*.example", "a.example"]),
        tls("shop/b", 2, &["a.example", "*.long.example", "bb.example"]),
    ]);
    let table = table(&snapshot, "shop/web", 80, "any").unwrap();
    let tcp = table.tcp.as_ref().unwrap();
    assert_eq!((&*tcp.route_label, tcp.index), ("TCPRoute/shop/older", 0));
    assert_eq!((table.grpc.len(), table.http.len()), (2, 2));
    let tls: Vec<(&str, &str)> = table
        .tls
        .iter()
        .map(|entry| {
            let hostname = entry
                .matched
                .map(|index| &*entry.rule.route.hostnames[index]);
            (&*entry.rule.route_label, hostname.unwrap_or("any"))
        })
        .collect();
    assert_eq!(
        tls,
        [
            ("TLSRoute/shop/b", "bb.example"),
            ("TLSRoute/shop/b", "a.example"),
            ("TLSRoute/shop/a", "a.example"),
            ("TLSRoute/shop/b", "*.long.example"),
            ("TLSRoute/shop/a", "*.example"),
            ("TLSRoute/shop/any", "any"),
        ]
    );
    assert!(table.tls.iter().all(|entry| entry.rule.index == 0));
}

#[test]
fn a_reference_to_another_namespace_needs_a_grant_there() {
    let mut world = World::new();
    let mut route = http("shop/r", "shop/web", "bank/pay");
    route.rules[0]
        .backends
        .extend(rule(["shop/own", "bank/audit"]).backends);
    let mirror = |service| Mirror {
        backend: backend_ref(service),
        numerator: 1,
        denominator: 1,
    };
    route.rules[0].filters.mirrors = vec![mirror("shop/own"), mirror("bank/audit")];
    route.rules[0].backends[1].filters = Filters {
        mirrors: vec![mirror("bank/pay")],
        ..Filters::default()
    };
    let refused = |snapshot: &Snapshot| {
        let table = table(snapshot, "shop/web", 80, "any").unwrap();
        let rule = &table.http[0].rule;
        assert_eq!(rule.weights, 3);
        let why =
            |list: &[Option<Arc<str>>]| -> Vec<bool> { list.iter().map(Option::is_some).collect() };
        (why(&rule.refused), why(&rule.mirrors_refused))
    };
    let snapshot = world.apply([route.upsert()]);
    assert_eq!(
        refused(&snapshot),
        (vec![true, false, true], vec![false, true, true])
    );
    let before = table(&snapshot, "shop/web", 80, "any").unwrap();
    assert_eq!(
        before.http[0].rule.refused[0].as_deref(),
        Some("no ReferenceGrant in bank lets HTTPRoute shop/r refer to Service bank/pay")
    );
    // Of another kind, from another namespace, for another service, in another namespace.
    let snapshot = world.apply([
        grant("bank/a", (RouteKind::Grpc, "shop"), None).upsert(),
        grant("bank/b", (RouteKind::Http, "front"), None).upsert(),
        grant("bank/c", (RouteKind::Http, "shop"), Some("other")).upsert(),
        grant("shop/d", (RouteKind::Http, "shop"), None).upsert(),
    ]);
    assert_eq!(
        refused(&snapshot),
        (vec![true, false, true], vec![false, true, true])
    );
    let after = table(&snapshot, "shop/web", 80, "any").unwrap();
    assert!(Arc::ptr_eq(&before, &after));
    let snapshot = world.apply([grant("bank/c", (RouteKind::Http, "shop"), Some("pay")).upsert()]);
    assert_eq!(
        refused(&snapshot),
        (vec![false, false, true], vec![false, true, false])
    );
    let snapshot = world.apply([grant("bank/c", (RouteKind::Http, "shop"), None).upsert()]);
    assert_eq!(refused(&snapshot), (vec![false; 3], vec![false; 3]));
    let snapshot = world.apply([remove(Kind::ReferenceGrant, "bank/c")]);
    assert_eq!(
        refused(&snapshot),
        (vec![true, false, true], vec![false, true, true])
    );
}

#[test]
fn a_consumer_route_needs_no_grant_for_its_parent() {
    let snapshot = World::new().apply([http("client/r", "shop/web", "client/b").upsert()]);
    let table = table(&snapshot, "shop/web", 80, "client").unwrap();
    assert_eq!(table.http[0].rule.refused, [None]);
    // Its backend in the service's own namespace is the namespace's to grant.
    let snapshot = World::new().apply([http("client/r", "shop/web", "shop/web").upsert()]);
    let table = super::routes::table(&snapshot, "shop/web", 80, "client").unwrap();
    assert!(table.http[0].rule.refused[0].is_some());
}

#[test]
fn what_did_not_change_stays_the_same_allocation() {
    let mut world = World::new();
    let mut of_port = http("shop/of-80", "shop/web", "shop/a");
    of_port.parents = vec![parent_ref("shop/web", Some(80))];
    let mut both = http("shop/both", "shop/web", "shop/a");
    both.parents.push(parent_ref("shop/other", None));
    both.rules = vec![matching(&["/a", "/b"])];
    let first = world.apply([of_port.clone().upsert(), both.clone().upsert()]);
    // One rule is one allocation, in all of its entries and tables.
    let web = table(&first, "shop/web", 81, "any").unwrap();
    let other = table(&first, "shop/other", 80, "any").unwrap();
    assert!(Arc::ptr_eq(&web.http[0].rule, &web.http[1].rule));
    assert!(Arc::ptr_eq(&web.http[0].rule, &other.http[0].rule));
    // The same object once more is no change.
    let again = world.apply([both.upsert()]);
    let same = |a: &Snapshot, b: &Snapshot, service| {
        let of = |snapshot: &Snapshot| Arc::clone(snapshot.routes(&name(service)).unwrap());
        Arc::ptr_eq(&of(a), &of(b))
    };
    assert!(same(&first, &again, "shop/web") && same(&first, &again, "shop/other"));
    of_port.rules.push(rule(["shop/b"]));
    let changed = world.apply([of_port.upsert()]);
    assert!(!same(&first, &changed, "shop/web") && same(&first, &changed, "shop/other"));
    let kept = table(&changed, "shop/web", 81, "any").unwrap();
    assert!(Arc::ptr_eq(&web, &kept));
}

#[test]
fn a_route_that_moves_leaves_its_old_service() {
    let mut world = World::new();
    world.apply([http("shop/r", "shop/web", "shop/a").upsert()]);
    let snapshot = world.apply([http("shop/r", "shop/other", "shop/a").upsert()]);
    assert!(snapshot.routes(&name("shop/web")).is_none());
    assert!(snapshot.routes(&name("shop/other")).is_some());
    assert!(!snapshot.routes(&name("shop/other")).unwrap().is_empty());
    // A route of another kind with the same name is another route.
    let snapshot = world.apply([remove(Kind::GrpcRoute, "shop/r")]);
    assert!(snapshot.routes(&name("shop/other")).is_some());
}
