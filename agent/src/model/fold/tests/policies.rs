//! TrafficPolicies, and where endpoints are.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    NODE, World,
    build::{
        Build, endpoint, ip, name, node, on_rule, parent_ref, pod, remove, route, rule, service,
        slice, traffic_policy,
    },
};
use crate::model::{
    resource::Kind,
    route::{ResolvedRule, RouteKind},
    service::{EndpointSlice, Place, ServiceState, SliceEndpoint},
    snapshot::Snapshot,
    traffic_policy::{Concurrency, PolicyTarget, TrafficPolicy},
};

const READY: (bool, bool, bool) = (true, true, false);

fn on_service(name: &str) -> PolicyTarget {
    PolicyTarget::Service(name.into())
}

fn aged(mut policy: TrafficPolicy, seconds: u64) -> TrafficPolicy {
    policy.created = Some(UNIX_EPOCH + Duration::from_secs(seconds));
    policy
}

fn state<'s>(snapshot: &'s Snapshot, service: &str) -> &'s Arc<ServiceState> {
    snapshot.service(&name(service)).unwrap()
}

fn attempts(snapshot: &Snapshot, service: &str) -> Option<u32> {
    state(snapshot, service).policy.as_ref()?.retries.attempts
}

fn conflicts(snapshot: &Snapshot) -> Vec<String> {
    let conflicts = snapshot.policy_conflicts().iter();
    conflicts
        .map(|((namespace, _), c)| {
            format!(
                "{} in {namespace}: {} not {:?}",
                c.target, c.winner, c.losers
            )
        })
        .collect()
}

#[test]
fn the_oldest_policy_on_a_service_wins_wholly() {
    let mut world = World::new();
    let snapshot = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        aged(traffic_policy("shop/young", [on_service("web")], 2), 20).upsert(),
        traffic_policy("shop/a-ageless", [on_service("web")], 3).upsert(),
        // Of another namespace: another Service.
        aged(traffic_policy("other/old", [on_service("web")], 4), 1).upsert(),
    ]);
    assert_eq!(attempts(&snapshot, "shop/web"), Some(2));
    assert_eq!(
        conflicts(&snapshot),
        ["Service web in shop: shop/young not [shop/a-ageless]"]
    );

    let old = aged(traffic_policy("shop/old", [on_service("web")], 1), 10);
    let snapshot = world.apply([old.upsert()]);
    assert_eq!(attempts(&snapshot, "shop/web"), Some(1));
    assert_eq!(
        conflicts(&snapshot),
        ["Service web in shop: shop/old not [shop/a-ageless, shop/young]"]
    );

    let snapshot = world.apply([
        remove(Kind::TrafficPolicy, "shop/old"),
        remove(Kind::TrafficPolicy, "shop/young"),
    ]);
    assert_eq!(attempts(&snapshot, "shop/web"), Some(3));
    assert_eq!(conflicts(&snapshot), [""; 0]);
    let snapshot = world.apply([remove(Kind::TrafficPolicy, "shop/a-ageless")]);
    assert!(state(&snapshot, "shop/web").policy.is_none());
}

#[test]
fn a_conflict_is_told_once() {
    let mut world = World::new();
    let nothing = world.apply([]);
    let on = || [on_service("web")];
    let one = world.apply([
        traffic_policy("shop/a", on(), 1).upsert(),
        traffic_policy("shop/b", on(), 1).upsert(),
    ]);
    let told = |old: &Snapshot, new: &Snapshot| -> Vec<usize> {
        let conflicts = new.policy_conflicts_since(old);
        conflicts.map(|conflict| conflict.losers.len()).collect()
    };
    assert_eq!(told(&nothing, &one), [1]);
    // What says something else has the same targets.
    let same = world.apply([traffic_policy("shop/b", on(), 2).upsert()]);
    assert!(one.policy_conflicts().ptr_eq(same.policy_conflicts()));
    assert_eq!(told(&one, &same), [0; 0]);
    let more = world.apply([traffic_policy("shop/c", on(), 2).upsert()]);
    assert_eq!(told(&same, &more), [2]);
    let none = world.apply([
        remove(Kind::TrafficPolicy, "shop/c"),
        remove(Kind::TrafficPolicy, "shop/b"),
    ]);
    assert_eq!(told(&more, &none), [0; 0]);
    assert!(none.policy_conflicts().is_empty());
}

#[test]
fn a_policy_waits_for_its_service_and_changes_its_mind() {
    let mut world = World::new();
    world.apply([traffic_policy("shop/p", [on_service("web")], 1).upsert()]);
    let snapshot = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        service("shop/other", "10.96.0.2").upsert(),
    ]);
    assert_eq!(attempts(&snapshot, "shop/web"), Some(1));
    let by_vip = snapshot.service_by_vip(ip("10.96.0.1")).unwrap();
    assert!(Arc::ptr_eq(by_vip, state(&snapshot, "shop/web")));
    let snapshot = world.apply([traffic_policy("shop/p", [on_service("other")], 1).upsert()]);
    assert_eq!(attempts(&snapshot, "shop/web"), None);
    assert_eq!(attempts(&snapshot, "shop/other"), Some(1));
}

#[test]
fn what_a_policy_does_not_touch_stays_the_same_allocation() {
    let mut world = World::new();
    let mut web = route(RouteKind::Http, "shop/web", "shop/web");
    web.rules = vec![rule(["shop/web"]), rule(["shop/web"])];
    web.rules[0].name = Some("first".into());
    let before = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        service("shop/other", "10.96.0.2").upsert(),
        slice("shop/web-1", "web", [endpoint("10.0.0.1", READY)]).upsert(),
        web.upsert(),
        traffic_policy("shop/p", [on_service("web")], 1).upsert(),
    ]);
    // Said again; another object that says the same; a policy on what there is not.
    for same in [
        traffic_policy("shop/p", [on_service("web")], 1),
        aged(traffic_policy("shop/same", [on_service("web")], 1), 1),
        traffic_policy("shop/q", [on_service("none"), on_rule("none", None)], 9),
    ] {
        let after = world.apply([same.upsert()]);
        for service in ["shop/web", "shop/other"] {
            assert!(Arc::ptr_eq(state(&before, service), state(&after, service)));
        }
        let routes = |snapshot: &Snapshot| Arc::clone(snapshot.routes(&name("shop/web")).unwrap());
        assert!(Arc::ptr_eq(&routes(&before), &routes(&after)));
    }
    let changed = aged(traffic_policy("shop/same", [on_service("web")], 2), 1);
    let after = world.apply([changed.upsert()]);
    assert!(!Arc::ptr_eq(
        state(&before, "shop/web"),
        state(&after, "shop/web")
    ));
    let sets = |snapshot: &Snapshot| Arc::clone(&state(snapshot, "shop/web").endpoints[0]);
    assert!(Arc::ptr_eq(&sets(&before), &sets(&after)));
    assert!(Arc::ptr_eq(
        state(&before, "shop/other"),
        state(&after, "shop/other")
    ));

    let after =
        world.apply([traffic_policy("shop/rule", [on_rule("web", Some("first"))], 5).upsert()]);
    let (old, new) = (rules(&before), rules(&after));
    assert!(!Arc::ptr_eq(&old[0], &new[0]));
    assert!(Arc::ptr_eq(&old[1], &new[1]));
}

/// Of the route of `shop/web`, in the order of the rules.
fn rules(snapshot: &Snapshot) -> Vec<Arc<ResolvedRule>> {
    let routes = snapshot.routes(&name("shop/web")).unwrap();
    let (_, _, table) = &routes.tables()[0];
    let mut rules: Vec<_> = table.rules().cloned().collect();
    rules.sort_by_key(|rule| rule.index);
    rules
}

#[test]
fn a_policy_that_names_the_rule_comes_before_one_on_the_route() {
    let mut world = World::new();
    let mut web = route(RouteKind::Http, "shop/web", "shop/web");
    web.rules = vec![rule([]), rule([]), rule([])];
    web.rules[0].name = Some("first".into());
    web.rules[1].name = Some("second".into());
    let of_rules = |snapshot: &Snapshot| -> Vec<Option<u32>> {
        let rules = rules(snapshot);
        let policies = rules.iter().map(|rule| rule.policy.as_ref());
        policies.map(|policy| policy?.retries.attempts).collect()
    };
    let snapshot = world.apply([
        aged(traffic_policy("shop/route", [on_rule("web", None)], 1), 1).upsert(),
        aged(
            traffic_policy("shop/rule", [on_rule("web", Some("second"))], 2),
            2,
        )
        .upsert(),
        aged(
            traffic_policy("shop/late", [on_rule("web", Some("second"))], 3),
            3,
        )
        .upsert(),
        aged(
            traffic_policy("other/p", [on_rule("web", Some("first"))], 4),
            1,
        )
        .upsert(),
        web.upsert(),
    ]);
    assert_eq!(of_rules(&snapshot), [Some(1), Some(2), Some(1)]);
    assert_eq!(
        conflicts(&snapshot),
        ["HTTPRoute web, rule second in shop: shop/rule not [shop/late]"]
    );
    let snapshot = world.apply([remove(Kind::TrafficPolicy, "shop/route")]);
    assert_eq!(of_rules(&snapshot), [None, Some(2), None]);
    let snapshot = world.apply([remove(Kind::TrafficPolicy, "shop/rule")]);
    assert_eq!(of_rules(&snapshot), [None, Some(3), None]);
}

#[test]
fn services_with_limits_are_listed() {
    let mut world = World::new();
    let mut limit = traffic_policy("shop/p", [on_service("web")], 1);
    let snapshot = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        limit.clone().upsert(),
    ]);
    assert!(snapshot.limited_services().is_empty());
    Arc::make_mut(&mut limit.policy).concurrency = Some(Concurrency { limit: 1, queue: 0 });
    let snapshot = world.apply([limit.clone().upsert()]);
    let listed = snapshot.limited_services().get(&name("shop/web")).unwrap();
    assert!(Arc::ptr_eq(listed, state(&snapshot, "shop/web")));
    for gone in [Kind::Service, Kind::TrafficPolicy] {
        let target = if gone == Kind::Service {
            "shop/web"
        } else {
            "shop/p"
        };
        assert!(
            world
                .apply([remove(gone, target)])
                .limited_services()
                .is_empty()
        );
        let snapshot = world.apply([
            service("shop/web", "10.96.0.1").upsert(),
            limit.clone().upsert(),
        ]);
        assert_eq!(snapshot.limited_services().len(), 1);
    }
}

#[test]
fn headless_services_with_a_policy_are_known_by_their_pods() {
    let mut world = World::new();
    let headless = |text| {
        let mut service = service(text, "10.96.0.1");
        service.vips.clear();
        service.upsert()
    };
    let snapshot = world.apply([
        headless("shop/b"),
        headless("shop/c"),
        service("shop/a", "10.96.0.1").upsert(),
        slice(
            "shop/b-1",
            "b",
            [endpoint("10.0.0.1", READY), endpoint("10.0.0.2", READY)],
        )
        .upsert(),
        // Whoever dials it knows why.
        slice(
            "shop/c-1",
            "c",
            [
                endpoint("10.0.0.2", READY),
                endpoint("10.0.0.3", (false, false, false)),
            ],
        )
        .upsert(),
        slice("shop/a-1", "a", [endpoint("10.0.0.1", READY)]).upsert(),
        traffic_policy("shop/p", [on_service("a"), on_service("c")], 1).upsert(),
    ]);
    let of = |snapshot: &Snapshot| -> Vec<Option<String>> {
        let of = |ip_text| {
            let state = snapshot.headless_with_policy(ip(ip_text))?;
            let known = snapshot.service(&state.service.name).unwrap();
            assert!(Arc::ptr_eq(state, known));
            Some(state.service.name.to_string())
        };
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(of).to_vec()
    };
    let (b, c) = (Some("shop/b".to_owned()), Some("shop/c".to_owned()));
    assert_eq!(of(&snapshot), [None, c.clone(), c.clone()]);
    let on_b = traffic_policy("shop/q", [on_service("b")], 1).upsert();
    let snapshot = world.apply([on_b]);
    assert_eq!(of(&snapshot), [b.clone(), b.clone(), c.clone()]);
    let snapshot = world.apply([slice("shop/b-1", "b", [endpoint("10.0.0.1", READY)]).upsert()]);
    assert_eq!(of(&snapshot), [b, c.clone(), c.clone()]);
    let snapshot = world.apply([remove(Kind::Service, "shop/b")]);
    assert_eq!(of(&snapshot), [None, c.clone(), c]);
    let snapshot = world.apply([remove(Kind::TrafficPolicy, "shop/p")]);
    assert_eq!(of(&snapshot), [None, None, None]);
}

fn at(ip: &str, node: Option<&str>, zone: Option<&str>) -> SliceEndpoint {
    SliceEndpoint {
        node: node.map(Into::into),
        zone: zone.map(Into::into),
        ..endpoint(ip, READY)
    }
}

/// Address, node, zone and weight.
type PlaceView = (String, Option<String>, Option<String>, Option<u16>);

fn places(snapshot: &Snapshot) -> Vec<PlaceView> {
    let set = &state(snapshot, "shop/web").endpoints[0];
    assert_eq!(set.places.len(), set.endpoints.len());
    let both = set.endpoints.iter().zip(&set.places);
    let text = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
    both.map(|(endpoint, Place { node, zone, weight })| {
        (
            endpoint.address.to_string(),
            text(node),
            text(zone),
            *weight,
        )
    })
    .collect()
}

#[test]
fn places_are_in_the_order_of_the_endpoints() {
    let mut world = World::new();
    let draining = SliceEndpoint {
        conditions: endpoint("10.0.0.9", (false, true, true)).conditions,
        ..at("10.0.0.9", Some("n9"), None)
    };
    let endpoints = [
        draining,
        at("fd00::1", Some("n6"), Some("z6")),
        at("10.0.0.2", None, None),
        at("10.0.0.1", None, Some("z1")),
    ];
    let snapshot = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        slice("shop/web-1", "web", endpoints).upsert(),
    ]);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        places(&snapshot),
        [
            ("10.0.0.2".to_owned(), None, None, None),
            ("10.0.0.1".to_owned(), None, some("z1"), None),
            ("fd00::1".to_owned(), some("n6"), some("z6"), None),
            ("10.0.0.9".to_owned(), some("n9"), None, None),
        ]
    );
}

#[test]
fn nothing_is_kept_of_places_that_nothing_is_known_of() {
    let mut world = World::new();
    let without: EndpointSlice = slice("shop/web-1", "web", [at("10.0.0.1", None, None)]);
    let set = |snapshot: &Snapshot| Arc::clone(&state(snapshot, "shop/web").endpoints[0]);
    let web = service("shop/web", "10.96.0.1").upsert();
    let before = set(&world.apply([web, without.clone().upsert()]));
    assert!(before.places.is_empty());
    let with = slice("shop/web-1", "web", [at("10.0.0.1", Some("n1"), None)]);
    let known = set(&world.apply([with.clone().upsert()]));
    assert_eq!(
        (known.places.len(), &known.endpoints),
        (1, &before.endpoints)
    );
    assert!(Arc::ptr_eq(&known, &set(&world.apply([with.upsert()]))));
    assert!(set(&world.apply([without.upsert()])).places.is_empty());
}

#[test]
fn a_pods_weight_reaches_the_services_of_its_namespace_that_have_it() {
    let mut world = World::new();
    let before = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        service("shop/other", "10.96.0.2").upsert(),
        service("far/web", "10.96.0.3").upsert(),
        slice(
            "shop/web-1",
            "web",
            [at("10.0.0.1", None, None), at("10.0.0.2", None, None)],
        )
        .upsert(),
        slice("shop/other-1", "other", [at("10.0.0.2", None, None)]).upsert(),
        slice("far/web-1", "web", [at("10.0.0.1", None, None)]).upsert(),
        pod("shop/web", "10.0.0.1").upsert(),
    ]);
    let mut heavy = pod("shop/web", "10.0.0.1");
    heavy.weight = Some(300);
    let weights = |snapshot: &Snapshot| -> Vec<Option<u16>> {
        let set = &state(snapshot, "shop/web").endpoints[0];
        set.places.iter().map(|place| place.weight).collect()
    };
    let snapshot = world.apply([heavy.clone().upsert()]);
    assert_eq!(weights(&snapshot), [Some(300), None]);
    for other in ["shop/other", "far/web"] {
        assert!(Arc::ptr_eq(state(&before, other), state(&snapshot, other)));
    }
    heavy.weight = Some(0);
    assert_eq!(
        weights(&world.apply([heavy.clone().upsert()])),
        [Some(0), None]
    );
    // A newer pod takes the address over, and gives it back.
    let newer = pod("shop/newer", "10.0.0.1");
    assert!(weights(&world.apply([newer.upsert()])).is_empty());
    let snapshot = world.apply([remove(Kind::Pod, "shop/newer")]);
    assert_eq!(weights(&snapshot), [Some(0), None]);
    heavy.ips = vec![ip("10.0.0.2")];
    assert_eq!(weights(&world.apply([heavy.upsert()])), [None, Some(0)]);
    assert!(weights(&world.apply([remove(Kind::Pod, "shop/web")])).is_empty());
}

#[test]
fn the_zone_is_that_of_the_own_node() {
    let mut world = World::new();
    let zone = |snapshot: &Snapshot| snapshot.zone.as_deref().map(str::to_owned);
    assert_eq!(
        zone(&world.apply([node("other", Some("z2")).upsert()])),
        None
    );
    let snapshot = world.apply([node(NODE, Some("z1")).upsert()]);
    assert_eq!(zone(&snapshot).as_deref(), Some("z1"));
    let snapshot = world.apply([remove(Kind::Node, "other")]);
    assert_eq!(zone(&snapshot).as_deref(), Some("z1"));
    assert_eq!(zone(&world.apply([node(NODE, None).upsert()])), None);
    world.apply([node(NODE, Some("z3")).upsert()]);
    assert_eq!(zone(&world.apply([remove(Kind::Node, NODE)])), None);
}

#[test]
fn a_route_of_another_namespace_has_its_own_namespaces_policies() {
    let mut world = World::new();
    let mut consumer = route(RouteKind::Http, "client/web", "shop/web");
    consumer.parents = vec![parent_ref("shop/web", None)];
    consumer.rules = vec![rule([])];
    let snapshot = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        consumer.upsert(),
        traffic_policy("shop/p", [on_rule("web", None)], 1).upsert(),
        traffic_policy("client/p", [on_rule("web", None)], 2).upsert(),
    ]);
    let policy = rules(&snapshot)[0].policy.clone().unwrap();
    assert_eq!(policy.retries.attempts, Some(2));
}
