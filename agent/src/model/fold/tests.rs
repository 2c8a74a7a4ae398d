pub(crate) mod build;
mod equivalence;
mod policies;
mod reference;
mod routes;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use self::build::{Build, endpoint, ip, name, pod, remove, service, slice};
use super::Fold;
use crate::model::{
    mesh::MeshConfig,
    pod::{MeshLabel, Namespace},
    resource::{Change, Delta, Kind},
    service::Endpoint,
    snapshot::{Destination, Snapshot},
};

const NODE: &str = "n1";

struct World {
    fold: Fold,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            fold: Fold::new("cluster.local", NODE),
            now: Instant::now(),
        }
    }

    /// One second passes with each delta.
    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Arc<Snapshot> {
        self.now += Duration::from_secs(1);
        let changes = changes.into_iter().collect();
        self.fold.apply(
            Delta {
                changes,
                rejected: 0,
                synced: true,
            },
            self.now,
        )
    }
}

fn namespace(name: &str, mesh: Option<MeshLabel>) -> Change {
    Namespace {
        name: name.into(),
        mesh,
    }
    .upsert()
}

#[test]
fn a_pod_is_enrolled_by_its_label_then_its_namespaces() {
    let enabled = Some(MeshLabel::Enabled);
    let disabled = Some(MeshLabel::Disabled);
    for (of_namespace, of_pod, enrolled) in [
        (None, None, false),
        (enabled, None, true),
        (disabled, None, false),
        (None, enabled, true),
        (disabled, enabled, true),
        (enabled, disabled, false),
    ] {
        let mut world = World::new();
        let mut web = pod("shop/web", "10.0.0.1");
        web.mesh = of_pod;
        // The namespace comes last: order within a delta does not matter.
        let snapshot = world.apply([web.upsert(), namespace("shop", of_namespace)]);
        let workload = snapshot.workload(&name("shop/web")).unwrap();
        assert_eq!(workload.enrolled, enrolled, "{of_namespace:?} {of_pod:?}");
        let destination = snapshot.destinations().get(&ip("10.0.0.1")).copied();
        assert_eq!(destination, enrolled.then_some(Destination::Pod));
    }
}

#[test]
fn a_pod_that_cannot_be_captured_is_not_enrolled() {
    for unable in [
        |pod: &mut crate::model::pod::Pod| pod.host_network = true,
        |pod: &mut crate::model::pod::Pod| pod.foreign_sidecar = true,
        |pod: &mut crate::model::pod::Pod| pod.finished = true,
    ] {
        let mut web = pod("shop/web", "10.0.0.1");
        web.mesh = Some(MeshLabel::Enabled);
        unable(&mut web);
        let snapshot = World::new().apply([web.clone().upsert()]);
        assert!(!snapshot.workload(&name("shop/web")).unwrap().enrolled);
        let reachable = snapshot.workload_by_ip(ip("10.0.0.1")).is_some();
        assert_eq!(reachable, web.foreign_sidecar);
    }
}

#[test]
fn a_namespaces_label_reaches_its_pods_and_no_others() {
    let mut world = World::new();
    let before = world.apply([
        pod("a/web", "10.0.0.1").upsert(),
        pod("b/web", "10.0.0.2").upsert(),
        pod("c/web", "10.0.0.3").upsert(),
    ]);
    let after = world.apply([namespace("b", Some(MeshLabel::Enabled))]);
    for (other, enrolled) in [("a/web", false), ("b/web", true), ("c/web", false)] {
        let (old, new) = (
            before.workload(&name(other)).unwrap(),
            after.workload(&name(other)).unwrap(),
        );
        assert_eq!(new.enrolled, enrolled);
        assert_eq!(Arc::ptr_eq(old, new), !enrolled);
    }
    assert!(Arc::ptr_eq(
        after.workload(&name("b/web")).unwrap(),
        after.workload_by_ip(ip("10.0.0.2")).unwrap()
    ));
}

#[test]
fn enrolment_changed_at_follows_enrolment_and_capture_alone() {
    let mut world = World::new();
    let changed_at = |snapshot: &Snapshot| {
        snapshot
            .workload(&name("shop/web"))
            .unwrap()
            .enrolment_changed_at
    };
    let mut web = pod("shop/web", "10.0.0.1");
    let created = changed_at(&world.apply([web.clone().upsert()]));
    assert_eq!(created, world.now);
    web.ips = vec![ip("10.0.0.9")];
    assert_eq!(changed_at(&world.apply([web.clone().upsert()])), created);
    assert_eq!(
        changed_at(&world.apply([namespace("shop", Some(MeshLabel::Enabled))])),
        world.now
    );
    web.captured = Some(true);
    assert_eq!(changed_at(&world.apply([web.clone().upsert()])), world.now);
    web.uid = "another".into();
    assert_eq!(changed_at(&world.apply([web.upsert()])), world.now);
}

#[test]
fn an_identity_is_the_service_accounts() {
    let mut world = World::new();
    let mut web = pod("shop/web", "10.0.0.1");
    web.service_account = "".into();
    let snapshot = world.apply([web.clone().upsert()]);
    let identity = |snapshot: &Snapshot| {
        snapshot
            .workload(&name("shop/web"))
            .unwrap()
            .identity
            .to_string()
    };
    assert_eq!(
        identity(&snapshot),
        "spiffe://cluster.local/ns/shop/sa/default"
    );
    web.service_account = "payer".into();
    assert_eq!(
        identity(&world.apply([web.upsert()])),
        "spiffe://cluster.local/ns/shop/sa/payer"
    );
    world.apply([remove(Kind::Pod, "shop/web")]);
    assert!(world.fold.identities.is_empty());
}

#[test]
fn of_two_pods_with_one_address_the_newer_has_it() {
    let mut world = World::new();
    let holder = |snapshot: &Snapshot| {
        snapshot
            .workload_by_ip(ip("10.0.0.1"))
            .map(|w| w.pod.name.to_string())
    };
    world.apply([pod("shop/old", "10.0.0.1").upsert()]);
    let snapshot = world.apply([pod("shop/new", "10.0.0.1").upsert()]);
    assert_eq!(holder(&snapshot).as_deref(), Some("shop/new"));
    // A word about the older pod that is not about its address changes nothing.
    let mut old = pod("shop/old", "10.0.0.1");
    old.labels = [("x", "y")].into();
    assert_eq!(
        holder(&world.apply([old.upsert()])).as_deref(),
        Some("shop/new")
    );
    let snapshot = world.apply([remove(Kind::Pod, "shop/new")]);
    assert_eq!(holder(&snapshot).as_deref(), Some("shop/old"));
    assert_eq!(
        snapshot
            .workload_by_ip(ip("10.0.0.1"))
            .unwrap()
            .pod
            .labels
            .len(),
        1
    );
    assert_eq!(holder(&world.apply([remove(Kind::Pod, "shop/old")])), None);
}

#[test]
fn of_two_services_with_one_address_the_newer_has_it() {
    let mut world = World::new();
    let holder = |snapshot: &Snapshot| {
        snapshot
            .service_by_vip(ip("10.96.0.1"))
            .map(|s| s.service.name.to_string())
    };
    world.apply([service("shop/old", "10.96.0.1").upsert()]);
    let snapshot = world.apply([service("shop/new", "10.96.0.1").upsert()]);
    assert_eq!(holder(&snapshot).as_deref(), Some("shop/new"));
    let snapshot = world.apply([remove(Kind::Service, "shop/new")]);
    assert_eq!(holder(&snapshot).as_deref(), Some("shop/old"));
    assert_eq!(
        snapshot.destinations().get(&ip("10.96.0.1")),
        Some(&Destination::Service)
    );
    let snapshot = world.apply([remove(Kind::Service, "shop/old")]);
    assert!(snapshot.destinations().is_empty());
}

fn addresses(snapshot: &Snapshot, service: &str) -> Vec<String> {
    let state = snapshot.service(&name(service)).unwrap();
    let (_, set) = state.endpoints_of_port(80).unwrap();
    set.endpoints
        .iter()
        .map(|Endpoint { address, port }| format!("{address}:{port}"))
        .collect()
}

#[test]
fn endpoints_come_from_all_slices_ready_ones_first() {
    let mut world = World::new();
    let (ready, draining, down) = (
        (true, true, false),
        (false, true, true),
        (false, false, true),
    );
    // A slice may come before its service.
    world.apply([
        slice(
            "shop/web-1",
            "web",
            [endpoint("10.0.0.1", draining), endpoint("10.0.0.2", ready)],
        )
        .upsert(),
        slice(
            "shop/web-2",
            "web",
            [endpoint("10.0.0.3", ready), endpoint("10.0.0.4", down)],
        )
        .upsert(),
        slice("shop/web-3", "web", [endpoint("10.0.0.2", draining)]).upsert(),
        slice("other/web-1", "web", [endpoint("10.0.0.9", ready)]).upsert(),
    ]);
    let snapshot = world.apply([service("shop/web", "10.96.0.1").upsert()]);
    assert_eq!(
        addresses(&snapshot, "shop/web"),
        ["10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.1:8080"]
    );
    let by_vip = snapshot.service_by_vip(ip("10.96.0.1")).unwrap();
    assert!(Arc::ptr_eq(
        by_vip,
        snapshot.service(&name("shop/web")).unwrap()
    ));
    assert_eq!(by_vip.endpoints[0].usable(false).len(), 2);

    // A slice can come to belong to another service.
    let moved = slice("shop/web-2", "api", [endpoint("10.0.0.3", ready)]);
    let snapshot = world.apply([moved.upsert(), service("shop/api", "10.96.0.2").upsert()]);
    assert_eq!(
        addresses(&snapshot, "shop/web"),
        ["10.0.0.2:8080", "10.0.0.1:8080"]
    );
    assert_eq!(addresses(&snapshot, "shop/api"), ["10.0.0.3:8080"]);

    let snapshot = world.apply([
        remove(Kind::EndpointSlice, "shop/web-1"),
        remove(Kind::EndpointSlice, "shop/web-3"),
    ]);
    assert!(addresses(&snapshot, "shop/web").is_empty());
}

#[test]
fn round_robin_goes_on_when_endpoints_change() {
    let mut world = World::new();
    let ready = (true, true, false);
    let snapshot = world.apply([
        service("shop/web", "10.96.0.1").upsert(),
        slice("shop/web-1", "web", [endpoint("10.0.0.1", ready)]).upsert(),
    ]);
    let set = |snapshot: &Snapshot| {
        Arc::clone(&snapshot.service(&name("shop/web")).unwrap().endpoints[0])
    };
    set(&snapshot).next.store(7, Ordering::Relaxed);
    let changed = world.apply([slice("shop/web-1", "web", [endpoint("10.0.0.2", ready)]).upsert()]);
    assert_eq!(set(&changed).next.load(Ordering::Relaxed), 7);
    // What does not touch the endpoints leaves the set alone.
    let mut web = service("shop/web", "10.96.0.1");
    web.ports[0].app_protocol = Some("http".into());
    let same = world.apply([web.upsert()]);
    assert!(Arc::ptr_eq(&set(&changed), &set(&same)));
}

#[test]
fn local_are_the_pods_of_the_node() {
    let mut world = World::new();
    let mut web = pod("shop/web", "10.0.0.1");
    web.node = NODE.into();
    let local = |snapshot: &Snapshot| {
        snapshot
            .local()
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let snapshot = world.apply([web.clone().upsert(), pod("shop/far", "10.0.0.2").upsert()]);
    assert_eq!(local(&snapshot), ["shop/web"]);
    web.node = "n2".into();
    assert!(local(&world.apply([web.upsert()])).is_empty());
}

#[test]
fn the_oldest_mesh_config_counts() {
    let mut world = World::new();
    let config = |created: Option<u64>, root: &str| MeshConfig {
        created: created.map(|s| std::time::UNIX_EPOCH + Duration::from_secs(s)),
        root_namespace: root.into(),
        ..MeshConfig::default()
    };
    let root = |snapshot: &Snapshot| snapshot.mesh.root_namespace.to_string();
    assert_eq!(root(&world.apply([])), "weir-system");
    assert_eq!(
        root(&world.apply([build::mesh("b", config(Some(2), "two"))])),
        "two"
    );
    assert_eq!(
        root(&world.apply([build::mesh("c", config(Some(1), "one"))])),
        "one"
    );
    assert_eq!(
        root(&world.apply([build::mesh("a", config(None, "unknown"))])),
        "one"
    );
    assert_eq!(root(&world.apply([remove(Kind::MeshConfig, "c")])), "two");
    assert_eq!(
        root(&world.apply([remove(Kind::MeshConfig, "b")])),
        "unknown"
    );
    assert_eq!(
        root(&world.apply([remove(Kind::MeshConfig, "a")])),
        "weir-system"
    );
}

#[test]
fn a_delta_counts_even_if_it_says_nothing_new() {
    let mut world = World::new();
    let first = world.apply([pod("shop/web", "10.0.0.1").upsert()]);
    let second = world.apply([
        pod("shop/web", "10.0.0.1").upsert(),
        remove(Kind::Pod, "shop/nobody"),
    ]);
    assert_eq!(second.generation, first.generation + 1);
    assert!(Arc::ptr_eq(
        first.workload(&name("shop/web")).unwrap(),
        second.workload(&name("shop/web")).unwrap()
    ));
}
