//! Step by step is the same as at once, whatever the steps.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    NODE, World,
    build::{
        self, Build, backend_ref, endpoint, grant, ip, name, node, parent_ref, pod, route, rule,
        service, slice, traffic_policy,
    },
    reference::{Reference, View},
};
use crate::model::{
    mesh::MeshConfig,
    pod::{MeshLabel, Namespace},
    policy::PeerAuthentication,
    resource::{Change, Kind, ResourceKey},
    route::{BackendRef, Mirror, ParentRef, PathMatch, RequestMatch, RouteKind, Rule},
    service::{ServicePort, SliceEndpoint},
    traffic_policy::{Concurrency, PolicyTarget},
};

// Few names and addresses, so that they meet often.
const NAMESPACES: [&str; 3] = ["a", "b", "weir-system"];
const NAMES: [&str; 4] = ["p", "q", "r", "s"];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.96.0.1", "fd00::1"];
const ZONES: [&str; 2] = ["z1", "z2"];
const SECTIONS: [&str; 2] = ["first", "second"];
const PORTS: [&str; 2] = ["http", "admin"];

fn label() -> impl Strategy<Value = Option<MeshLabel>> {
    option::of(select(vec![MeshLabel::Enabled, MeshLabel::Disabled]))
}

fn object() -> impl Strategy<Value = String> {
    (select(&NAMESPACES[..]), select(&NAMES[..]))
        .prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn addresses() -> impl Strategy<Value = Vec<std::net::IpAddr>> {
    proptest::sample::subsequence(&ADDRESSES[..], 0..=3)
        .prop_map(|list| list.into_iter().map(ip).collect())
}

fn a_pod() -> impl Strategy<Value = Change> {
    let flags = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    let rest = (
        label(),
        select(vec![NODE, "elsewhere"]),
        select(vec!["default", "payer"]),
        0..2_u8,
        option::weighted(0.3, 0..2_u16),
    );
    (object(), addresses(), flags, rest).prop_map(
        |(object, ips, (host, finished, sidecar), (mesh, node, account, uid, weight))| {
            let mut pod = pod(&object, "10.0.0.1");
            pod.uid = format!("{object}-{uid}").into();
            (pod.ips, pod.host_network, pod.finished, pod.foreign_sidecar) =
                (ips, host, finished, sidecar);
            pod.weight = weight;
            (pod.mesh, pod.node, pod.service_account) = (mesh, node.into(), account.into());
            pod.upsert()
        },
    )
}

fn a_service() -> impl Strategy<Value = Change> {
    let ports = proptest::sample::subsequence(&PORTS[..], 0..=2);
    (object(), addresses(), ports).prop_map(|(object, vips, ports)| {
        let mut service = service(&object, "10.96.0.1");
        service.vips = vips;
        let port = |(index, name): (usize, &str)| ServicePort {
            name: name.into(),
            port: 80 + u16::try_from(index).unwrap(),
            app_protocol: None,
        };
        service.ports = ports.into_iter().enumerate().map(port).collect();
        service.upsert()
    })
}

fn a_slice() -> impl Strategy<Value = Change> {
    let conditions = select(vec![
        (true, true, false),
        (false, true, true),
        (false, false, false),
    ]);
    let zone = option::weighted(0.3, select(&ZONES[..]));
    let endpoints = vec((select(&ADDRESSES[..]), conditions, zone), 0..4);
    let ports = proptest::sample::subsequence(&PORTS[..], 0..=2);
    (object(), select(&NAMES[..]), endpoints, ports).prop_map(
        |(object, service, endpoints, ports)| {
            let mut slice = slice(
                &object,
                service,
                endpoints.into_iter().map(|(ip, how, zone)| SliceEndpoint {
                    zone: zone.map(Into::into),
                    ..endpoint(ip, how)
                }),
            );
            slice.ports = ports.into_iter().map(|name| (name.into(), 8080)).collect();
            slice.upsert()
        },
    )
}

fn another() -> impl Strategy<Value = Change> {
    prop_oneof![
        (select(&NAMESPACES[..]), label()).prop_map(|(name, mesh)| Namespace {
            name: name.into(),
            mesh
        }
        .upsert()),
        object().prop_map(|object| {
            let policy = PeerAuthentication {
                name: name(&object),
                created: None,
                selector: None,
                mode: None,
                ports: Default::default(),
            };
            policy.upsert()
        }),
        (0..3_u64, select(&NAMESPACES[..])).prop_map(|(age, root)| {
            let config = MeshConfig {
                created: Some(UNIX_EPOCH + Duration::from_secs(age)),
                root_namespace: root.into(),
                ..MeshConfig::default()
            };
            build::mesh(&format!("mesh-{age}"), config)
        }),
    ]
}

fn a_parent() -> impl Strategy<Value = ParentRef> {
    let port = option::of(select(vec![80_u16, 81]));
    let section = option::weighted(0.3, select(&PORTS[..]));
    (object(), port, section).prop_map(|(service, port, section)| ParentRef {
        section: section.map(Into::into),
        ..parent_ref(&service, port)
    })
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let path = select(vec!["/", "/a", "/a/b", "/c"]);
    let request = (option::of(path), prop::bool::ANY).prop_map(|(path, exact)| RequestMatch {
        path: path.map(|path| match exact {
            true => PathMatch::Exact(path.into()),
            false => PathMatch::Prefix(path.into()),
        }),
        ..RequestMatch::default()
    });
    let mirrors = vec(option::of(object()), 0..4);
    (vec(request, 0..3), vec(object(), 0..3), mirrors).prop_map(|(matches, backends, mirrors)| {
        let mut rule = rule(backends.iter().map(String::as_str));
        let mirror = |service: Option<String>| Mirror {
            backend: service.map_or_else(
                || BackendRef::Invalid("no port".into()),
                |service| backend_ref(&service),
            ),
            numerator: 1,
            denominator: 1,
        };
        let mut mirrors = mirrors.into_iter().map(mirror);
        rule.filters.mirrors.extend(mirrors.next());
        if let Some(backend) = rule.backends.first_mut() {
            backend.filters.mirrors.extend(mirrors);
        }
        rule.matches = matches;
        rule
    })
}

fn a_route() -> impl Strategy<Value = Change> {
    let hostnames = proptest::sample::subsequence(&["a.b", "*.b", "c"][..], 0..=2);
    let age = option::of(0..3_u64);
    let rest = (vec(a_parent(), 0..3), vec(a_rule(), 0..3), hostnames, age);
    (select(&RouteKind::ALL[..]), object(), rest).prop_map(
        |(kind, object, (parents, rules, hostnames, age))| {
            let mut route = route(kind, &object, "a/p");
            (route.parents, route.rules) = (parents, rules);
            for (rule, section) in route.rules.iter_mut().zip(SECTIONS) {
                rule.name = Some(section.into());
            }
            route.created = age.map(|age| UNIX_EPOCH + Duration::from_secs(age));
            if kind == RouteKind::Tls {
                route.hostnames = hostnames.into_iter().map(Into::into).collect();
            }
            route.upsert()
        },
    )
}

fn a_grant() -> impl Strategy<Value = Change> {
    let from = (select(&RouteKind::ALL[..]), select(&NAMESPACES[..]));
    (object(), from, option::of(select(&NAMES[..])))
        .prop_map(|(object, from, to)| grant(&object, from, to).upsert())
}

fn a_traffic_policy() -> impl Strategy<Value = Change> {
    let service = select(&NAMES[..]).prop_map(|name| PolicyTarget::Service(name.into()));
    let section = option::of(select(&SECTIONS[..]));
    let kind = select(vec![RouteKind::Http, RouteKind::Grpc]);
    let rule =
        (kind, select(&NAMES[..]), section).prop_map(|(kind, route, section)| PolicyTarget::Rule {
            kind,
            route: route.into(),
            section: section.map(Into::into),
        });
    let targets = vec(prop_oneof![2 => service, 1 => rule], 1..4);
    let rest = (option::of(0..3_u64), 0..3_u32, prop::bool::ANY);
    (object(), targets, rest).prop_map(|(object, mut targets, (age, attempts, limits))| {
        // Validation lets none be there twice.
        targets.sort();
        targets.dedup();
        let mut policy = traffic_policy(&object, targets, attempts);
        policy.created = age.map(|age| UNIX_EPOCH + Duration::from_secs(age));
        if limits {
            let said = Arc::make_mut(&mut policy.policy);
            said.concurrency = Some(Concurrency { limit: 1, queue: 0 });
        }
        policy.upsert()
    })
}

fn a_node() -> impl Strategy<Value = Change> {
    let name = select(vec![NODE, "elsewhere"]);
    (name, option::of(select(&ZONES[..]))).prop_map(|(name, zone)| node(name, zone).upsert())
}

fn a_removal() -> impl Strategy<Value = Change> {
    let kinds = vec![
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::PeerAuthentication,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TcpRoute,
        Kind::TlsRoute,
        Kind::ReferenceGrant,
        Kind::TrafficPolicy,
    ];
    prop_oneof![
        5 => (select(kinds), object()).prop_map(|(kind, object)| (kind, name(&object))),
        3 => object().prop_map(|object| (Kind::Service, name(&object))),
        1 => select(&NAMESPACES[..]).prop_map(|namespace| (Kind::Namespace, name(namespace))),
        1 => Just((Kind::Node, name(NODE))),
        1 => (0..3_u64).prop_map(|age| (Kind::MeshConfig, name(&format!("mesh-{age}")))),
    ]
    .prop_map(|(kind, name)| Change::Remove(ResourceKey { kind, name }))
}

fn a_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => a_pod(),
        2 => a_service(),
        3 => a_slice(),
        2 => another(),
        4 => a_route(),
        2 => a_grant(),
        4 => a_traffic_policy(),
        1 => a_node(),
        5 => a_removal(),
    ]
}

proptest! {
    #[test]
    fn incremental_is_the_same_as_at_once(deltas in vec(vec(a_change(), 0..6), 1..20)) {
        let mut world = World::new();
        let mut reference = Reference::default();
        for changes in deltas {
            reference.apply(&changes);
            let snapshot = world.apply(changes);
            prop_assert_eq!(View::from(&*snapshot), reference.view(NODE));
            let at_once = World::new().apply(reference.at_once());
            prop_assert_eq!(View::from(&*snapshot), View::from(&*at_once));
            // Workloads that are one are one allocation.
            for (ip, workload) in &snapshot.workloads_by_ip {
                let own = &snapshot.workloads[&workload.pod.name];
                prop_assert!(Arc::ptr_eq(own, workload), "{ip}");
            }
            // And so are services.
            let by_vip = snapshot.services_by_vip.values().chain(snapshot.headless.values());
            for state in by_vip.chain(snapshot.limited.values()) {
                let own = &snapshot.services[&state.service.name];
                prop_assert!(Arc::ptr_eq(own, state), "{:?}", state.service.name);
            }
        }
    }
}
