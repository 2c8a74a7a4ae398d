use std::sync::atomic::Ordering::Relaxed;

use tempfile::TempDir;

use super::*;
use crate::identity::{
    EmbeddedCa,
    ca::LEAF_LIFETIME,
    testing::{Events, Scripted, TokioClock, handshake},
};

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    _folder: TempDir,
    ca: Arc<Scripted<EmbeddedCa>>,
    events: Arc<Events>,
    store: Arc<IdentityStore>,
    clock: Arc<TokioClock>,
}

/// A store over an embedded CA that takes `takes` for each certificate.
fn world(takes: Duration) -> World {
    let folder = TempDir::new().unwrap();
    let clock = TokioClock::start();
    let ca = EmbeddedCa::load_or_create(folder.path(), "cluster.local", clock.clone()).unwrap();
    let trust = TrustBundle::new(ca.roots(), "cluster.local".into()).unwrap();
    let ca = Scripted::new(ca, takes);
    let events = Arc::new(Events::default());
    let store = IdentityStore::new(ca.clone(), trust, clock.clone(), events.clone());
    World {
        _folder: folder,
        ca,
        events,
        store,
        clock,
    }
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", account)
}

#[tokio::test(start_paused = true)]
async fn two_identities_of_one_store_speak_to_each_other() {
    let world = world(Duration::ZERO);
    let web = world.store.ensure(&id("web")).await.unwrap();
    let db = world.store.ensure(&id("db")).await.unwrap();
    let server = Arc::clone(db.current().server_config());
    let client = |expected| web.current().client_config(vec![expected]);
    let outcome = handshake(client(id("db")), Arc::clone(&server));
    assert!(outcome.client.is_ok() && outcome.server.is_ok());
    assert!(handshake(client(id("other")), server).client.is_err());
    let printed = format!("{web:?}");
    assert!(
        printed.contains("sa/web") && !printed.to_lowercase().contains("key"),
        "{printed}"
    );
}

#[tokio::test(start_paused = true)]
async fn callers_at_the_same_time_share_one_request() {
    let world = world(Duration::from_secs(1));
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&world.store);
        callers.spawn(async move { store.ensure(&id("web")).await.unwrap() });
    }
    let handles = callers.join_all().await;
    assert_eq!(world.ca.calls.load(Relaxed), 1);
    let first = handles[0].current();
    assert!(
        handles
            .iter()
            .all(|handle| Arc::ptr_eq(&handle.current(), &first))
    );
    assert_eq!(world.events.take(), ["issued web"]);
    world.store.ensure(&id("web")).await.unwrap();
    assert_eq!(
        world.ca.calls.load(Relaxed),
        1,
        "what is there is not asked for again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_the_others_with_an_answer() {
    let world = world(Duration::from_secs(10));
    let impatient = tokio::spawn({
        let store = Arc::clone(&world.store);
        async move { tokio::time::timeout(Duration::from_secs(1), store.ensure(&id("web"))).await }
    });
    sleep(Duration::from_millis(10)).await;
    let patient = world.store.ensure(&id("web")).await;
    assert!(impatient.await.unwrap().is_err());
    assert!(patient.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_at_half_of_its_life() {
    let world = world(Duration::ZERO);
    tokio::spawn(Arc::clone(&world.store).run());
    let handle = world.store.ensure(&id("web")).await.unwrap();
    let first = handle.current();
    sleep(LEAF_LIFETIME.mul_f64(0.44)).await;
    assert!(
        Arc::ptr_eq(&handle.current(), &first),
        "not before its time"
    );
    sleep(LEAF_LIFETIME.mul_f64(0.12)).await;
    let second = handle.current();
    assert!(second.not_after() > first.not_after() + 10 * HOUR);
    assert_eq!(world.ca.calls.load(Relaxed), 2);
    sleep(LEAF_LIFETIME * 3).await;
    assert!(handle.current().not_after() > world.clock.wall() + 10 * HOUR);
    let calls = world.ca.calls.load(Relaxed);
    assert!((7..=9).contains(&calls), "two a day: {calls}");
}

#[tokio::test(start_paused = true)]
async fn renewals_of_a_node_are_spread() {
    let world = world(Duration::ZERO);
    for index in 0..200 {
        world.store.ensure(&id(&format!("a{index}"))).await.unwrap();
    }
    let mut due: Vec<_> = world
        .store
        .issued()
        .iter()
        .map(|slot| slot.renewal().due)
        .collect();
    due.sort();
    let spread = due[199].duration_since(due[0]).unwrap();
    assert!(spread > HOUR, "{spread:?}");
    assert!(due[0] >= world.clock.wall() + LEAF_LIFETIME.mul_f64(0.449));
    assert!(due[199] <= world.clock.wall() + LEAF_LIFETIME.mul_f64(0.551));
}

#[tokio::test(start_paused = true)]
async fn a_failing_ca_is_tried_again_with_patience() {
    let world = world(Duration::ZERO);
    tokio::spawn(Arc::clone(&world.store).run());
    let handle = world.store.ensure(&id("web")).await.unwrap();
    let first = handle.current();
    world.ca.failures_left.store(usize::MAX, Relaxed);
    sleep(LEAF_LIFETIME / 2 + 3 * HOUR).await;
    let tries = world.ca.calls.load(Relaxed) - 1;
    assert!(
        (90..500).contains(&tries),
        "every half to whole minute for hours: {tries}"
    );
    assert!(
        Arc::ptr_eq(&handle.current(), &first),
        "the old one serves as long as it is good"
    );
    let failures = world
        .events
        .take()
        .iter()
        .filter(|event| *event == "failed web")
        .count();
    assert_eq!(failures, tries);

    world.ca.failures_left.store(0, Relaxed);
    sleep(2 * RETRY_MAX).await;
    assert!(handle.current().not_after() > first.not_after());
    assert_eq!(world.events.take(), ["issued web"]);
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_hangs_is_given_up_and_does_not_hold_up_the_rest() {
    let world = world(HOUR);
    let error = world.store.ensure(&id("web")).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::SignTimeout { .. }),
        "{error}"
    );
    assert_eq!(world.events.take(), ["failed web"]);
    assert!(world.store.get(&id("web")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_first_failure_is_the_callers_to_repeat() {
    let world = world(Duration::ZERO);
    world.ca.failures_left.store(1, Relaxed);
    let error = world.store.ensure(&id("web")).await.unwrap_err();
    assert!(error.to_string().contains("the CA is away"), "{error}");
    assert!(world.store.ensure(&id("web")).await.is_ok());
    assert_eq!(world.events.take(), ["failed web", "issued web"]);
}

#[tokio::test(start_paused = true)]
async fn an_identity_without_pods_is_forgotten() {
    let world = world(Duration::ZERO);
    tokio::spawn(Arc::clone(&world.store).run());
    let web = world.store.ensure(&id("web")).await.unwrap();
    world.store.ensure(&id("db")).await.unwrap();
    world
        .store
        .retain(|identity| identity.service_account() == "db");
    assert_eq!(
        world.events.take(),
        ["issued web", "issued db", "removed web"]
    );
    assert!(world.store.get(&id("web")).is_none());
    let last = web.current();
    sleep(LEAF_LIFETIME).await;
    assert!(Arc::ptr_eq(&web.current(), &last), "no longer renewed");
    assert!(world.events.take().iter().all(|event| event == "issued db"));
    let expiries = world.store.expiries();
    assert_eq!(expiries.len(), 1);
    assert_eq!(expiries[0].0, id("db"));
}

#[tokio::test(start_paused = true)]
async fn an_identity_forgotten_while_it_is_signed_is_not_reported() {
    let world = world(Duration::from_secs(1));
    let asked = tokio::spawn({
        let store = Arc::clone(&world.store);
        async move { store.ensure(&id("web")).await.map(drop) }
    });
    sleep(Duration::from_millis(10)).await;
    world.store.retain(|_| false);
    asked.await.unwrap().unwrap();
    assert!(world.events.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_identities_than_pods_are_refused() {
    let world = world(Duration::ZERO);
    for index in 0..LOCAL_PODS_MAX {
        world.store.slot(&id(&format!("a{index}"))).unwrap();
    }
    let error = world.store.ensure(&id("web")).await.unwrap_err();
    assert!(matches!(error, IdentityError::TooMany { .. }), "{error}");
}

#[test]
fn waits_grow_to_their_limit() {
    for failures in 1..100 {
        let wait = retry_wait(failures);
        assert!(
            wait >= RETRY_BASE / 2 && wait <= RETRY_MAX,
            "{failures}: {wait:?}"
        );
    }
    assert!(retry_wait(1) <= RETRY_BASE);
    assert!(retry_wait(20) >= RETRY_MAX / 2);
}
