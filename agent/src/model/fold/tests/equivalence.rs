//! Step by step is the same as at once, whatever the steps.

use std::time::{Duration, UNIX_EPOCH};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    NODE, World,
    build::{self, Build, endpoint, ip, name, pod, service, slice},
    reference::{Reference, View},
};
use crate::model::{
    mesh::MeshConfig,
    pod::{MeshLabel, Namespace},
    policy::PeerAuthentication,
    resource::{Change, Kind, ResourceKey},
    service::ServicePort,
};

// Few names and addresses, so that they meet often.
const NAMESPACES: [&str; 3] = ["a", "b", "weir-system"];
const NAMES: [&str; 4] = ["p", "q", "r", "s"];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.96.0.1", "fd00::1"];
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
    );
    (object(), addresses(), flags, rest).prop_map(
        |(object, ips, (host, finished, sidecar), (mesh, node, account, uid))| {
            let mut pod = pod(&object, "10.0.0.1");
            pod.uid = format!("{object}-{uid}").into();
            (pod.ips, pod.host_network, pod.finished, pod.foreign_sidecar) =
                (ips, host, finished, sidecar);
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
    let endpoints = vec((select(&ADDRESSES[..]), conditions), 0..4);
    let ports = proptest::sample::subsequence(&PORTS[..], 0..=2);
    (object(), select(&NAMES[..]), endpoints, ports).prop_map(
        |(object, service, endpoints, ports)| {
            let mut slice = slice(
                &object,
                service,
                endpoints.into_iter().map(|(ip, how)| endpoint(ip, how)),
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

fn a_removal() -> impl Strategy<Value = Change> {
    let kinds = vec![
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::PeerAuthentication,
    ];
    prop_oneof![
        4 => (select(kinds), object()).prop_map(|(kind, object)| (kind, name(&object))),
        1 => select(&NAMESPACES[..]).prop_map(|namespace| (Kind::Namespace, name(namespace))),
        1 => (0..3_u64).prop_map(|age| (Kind::MeshConfig, name(&format!("mesh-{age}")))),
    ]
    .prop_map(|(kind, name)| Change::Remove(ResourceKey { kind, name }))
}

fn a_change() -> impl Strategy<Value = Change> {
    prop_oneof![4 => a_pod(), 2 => a_service(), 3 => a_slice(), 2 => another(), 4 => a_removal()]
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
                prop_assert!(std::sync::Arc::ptr_eq(own, workload), "{ip}");
            }
        }
    }
}
