use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use super::{MtlsMode, PeerAuthentication};
use crate::model::{
    fold::{
        Fold,
        tests::build::{Build, name, pod, remove},
    },
    pod::Labels,
    resource::{Change, Delta, Kind},
    snapshot::Snapshot,
};

const STRICT: Option<MtlsMode> = Some(MtlsMode::Strict);
const PERMISSIVE: Option<MtlsMode> = Some(MtlsMode::Permissive);
const DISABLE: Option<MtlsMode> = Some(MtlsMode::Disable);
const UNSET: Option<MtlsMode> = None;

/// A policy; `age` in seconds since 1970, the smaller the older.
fn policy(
    text: &str,
    age: Option<u64>,
    selector: Option<&str>,
    mode: Option<MtlsMode>,
) -> PeerAuthentication {
    PeerAuthentication {
        name: name(text),
        created: age.map(|age| UNIX_EPOCH + Duration::from_secs(age)),
        selector: selector.map(|app| Labels::from([("app", app)])),
        mode,
        ports: Default::default(),
    }
}

fn with_port(mut policy: PeerAuthentication, port: u16, mode: Option<MtlsMode>) -> Change {
    policy.ports.insert(port, mode);
    policy.upsert()
}

fn snapshot(policies: impl IntoIterator<Item = Change>) -> Arc<Snapshot> {
    let mut web = pod("shop/web", "10.0.0.1");
    web.labels = [("app", "web"), ("version", "v1")].into();
    let changes = policies
        .into_iter()
        .chain([web.upsert(), pod("weir-system/agent", "10.0.0.2").upsert()]);
    let delta = Delta {
        changes: changes.collect(),
        ..Delta::default()
    };
    Fold::new("cluster.local", "n1").apply(delta, Instant::now())
}

/// The mode of shop/web (label app=web) on ports 8080 and 9090.
fn modes(policies: impl IntoIterator<Item = Change>) -> [MtlsMode; 2] {
    let snapshot = snapshot(policies);
    let web = snapshot.workload(&name("shop/web")).unwrap();
    [8080, 9090].map(|port| snapshot.mtls_mode(web, port))
}

#[test]
fn the_narrower_policy_counts() {
    let mesh = || policy("weir-system/all", None, None, STRICT).upsert();
    let namespace = || policy("shop/all", None, None, PERMISSIVE).upsert();
    let workload = || policy("shop/web", None, Some("web"), STRICT).upsert();
    let port = || with_port(policy("shop/web", None, Some("web"), STRICT), 8080, DISABLE);
    use MtlsMode::{Disable, Permissive, Strict};
    for (policies, expected) in [
        (vec![], [Permissive, Permissive]),
        (vec![mesh()], [Strict, Strict]),
        (vec![mesh(), namespace()], [Permissive, Permissive]),
        (vec![mesh(), namespace(), workload()], [Strict, Strict]),
        (vec![mesh(), namespace(), port()], [Disable, Strict]),
    ] {
        assert_eq!(modes(policies), expected);
    }
}

#[test]
fn unset_inherits_from_the_next_wider_level() {
    use MtlsMode::{Permissive, Strict};
    let namespace = || policy("shop/all", None, None, STRICT).upsert();
    let unset_port = || with_port(policy("shop/web", None, Some("web"), UNSET), 8080, UNSET);
    assert_eq!(modes([namespace(), unset_port()]), [Strict, Strict]);
    let open_port = with_port(
        policy("shop/web", None, Some("web"), UNSET),
        8080,
        PERMISSIVE,
    );
    assert_eq!(modes([namespace(), open_port]), [Permissive, Strict]);
    let unset_namespace = policy("shop/all", None, None, UNSET).upsert();
    let mesh = policy("weir-system/all", None, None, STRICT).upsert();
    assert_eq!(
        modes([mesh, unset_namespace, unset_port()]),
        [Strict, Strict]
    );
    assert_eq!(modes([unset_port()]), [Permissive, Permissive]);
}

#[test]
fn of_several_on_one_level_the_oldest_counts_then_the_name() {
    use MtlsMode::{Permissive, Strict};
    for (first, second, expected) in [
        ((Some(2), "shop/a"), (Some(1), "shop/b"), Strict),
        ((Some(1), "shop/a"), (Some(1), "shop/b"), Permissive),
        ((None, "shop/a"), (Some(9), "shop/b"), Strict),
        ((None, "shop/b"), (None, "shop/a"), Strict),
    ] {
        for selector in [None, Some("web")] {
            let permissive = policy(first.1, first.0, selector, PERMISSIVE).upsert();
            let strict = policy(second.1, second.0, selector, STRICT).upsert();
            assert_eq!(
                modes([permissive, strict]),
                [expected; 2],
                "{first:?} {second:?} {selector:?}"
            );
        }
    }
}

#[test]
fn what_the_oldest_leaves_unset_is_not_asked_of_a_younger_one() {
    let old = policy("shop/a", Some(1), Some("web"), UNSET).upsert();
    let young = policy("shop/b", Some(2), Some("web"), STRICT).upsert();
    assert_eq!(modes([old, young]), [MtlsMode::Permissive; 2]);
}

#[test]
fn a_policy_acts_on_what_it_selects_alone() {
    let others = [
        policy("shop/other", None, Some("api"), STRICT).upsert(),
        policy("elsewhere/all", None, None, STRICT).upsert(),
        // With a selector, a policy of the root namespace acts on that namespace.
        policy("weir-system/some", None, Some("web"), STRICT).upsert(),
    ];
    assert_eq!(modes(others), [MtlsMode::Permissive; 2]);
}

#[test]
fn ports_without_a_selector_do_not_count() {
    let wide = with_port(policy("shop/all", None, None, STRICT), 8080, DISABLE);
    assert_eq!(modes([wide]), [MtlsMode::Strict; 2]);
}

#[test]
fn removing_a_policy_and_moving_the_root_namespace_take_effect() {
    let mut fold = Fold::new("cluster.local", "n1");
    let mut apply = |changes: Vec<Change>| {
        let snapshot = fold.apply(
            Delta {
                changes,
                ..Delta::default()
            },
            Instant::now(),
        );
        let web = snapshot.workload(&name("shop/web")).unwrap();
        snapshot.mtls_mode(web, 80)
    };
    let root = crate::model::mesh::MeshConfig {
        root_namespace: "root".into(),
        ..Default::default()
    };
    let mesh_wide = policy("root/all", None, None, STRICT).upsert();
    assert_eq!(
        apply(vec![pod("shop/web", "10.0.0.1").upsert(), mesh_wide]),
        MtlsMode::Permissive
    );
    let config = crate::model::fold::tests::build::mesh("mesh", root);
    assert_eq!(apply(vec![config]), MtlsMode::Strict);
    assert_eq!(
        apply(vec![remove(Kind::PeerAuthentication, "root/all")]),
        MtlsMode::Permissive
    );
}
