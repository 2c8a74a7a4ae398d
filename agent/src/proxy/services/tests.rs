use super::{testing::*, *};
use crate::{
    model::traffic_policy::{HealthCheck, HealthCheckBy},
    traffic::breaker::{Outcome, Phase},
};

mod policies;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";

/// One error opens.
fn fragile(max_ejected_percent: u8) -> Policy {
    Policy {
        circuit_breaker: Some(CircuitBreaker {
            consecutive_errors: 1,
            max_ejected_percent,
            ..CircuitBreaker::default()
        }),
        ..Policy::default()
    }
}

fn checked() -> Policy {
    Policy {
        health_check: Some(HealthCheck {
            by: HealthCheckBy::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy: 1,
            unhealthy: 1,
        }),
        ..Policy::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_is_made_once_for_each_configuration() {
    let services = services();
    let web = web(set(&[A], &[]), None);
    let view = services.of(&web);
    assert!(Arc::ptr_eq(&view, &services.of(&web)));
}

#[tokio::test(start_paused = true)]
async fn states_outlive_configurations_as_long_as_the_endpoint_stays() {
    let services = services();
    let old = services.of(&web(set(&[A, B], &[]), Some(fragile(100))));
    old.fails(A);
    let inside = old.live.requests.try_enter(1).unwrap();
    let new = services.now_at(2, &web(set(&[A, C], &[]), Some(fragile(50))));
    assert!(Arc::ptr_eq(old.state_at(A), new.state_at(A)));
    assert_eq!(new.state_at(A).breaker.phase().0, Phase::Open);
    assert_eq!(new.state_at(C).breaker.phase().0, Phase::Closed);
    assert_eq!(old.state_at(A).since, None, "it was there before the agent");
    assert!(new.state_at(C).since.is_some());
    assert_eq!(new.live.requests.inside(), 1);
    assert_eq!(new.counts(), (2, 1, 0));
    drop(inside);
    assert_eq!(new.live.requests.inside(), 0);
}

/// A request that goes on for hours holds what it was sent to.
#[tokio::test(start_paused = true)]
async fn an_open_endpoint_that_leaves_takes_no_place_among_the_open_ones() {
    let services = services();
    let old = services.of(&web(set(&[A, B, C], &[]), Some(fragile(50))));
    let held = old.try_endpoint(at(A)).unwrap().unwrap();
    old.fails(A);
    assert_eq!(old.counts(), (3, 1, 0));
    let new = services.now_at(2, &web(set(&[B, C], &[]), Some(fragile(50))));
    assert_eq!(new.counts(), (2, 0, 0));
    new.fails(B);
    assert_eq!(new.counts(), (2, 1, 0), "one of two may be open");
    drop((held, old));
    assert_eq!(new.counts(), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_an_endpoint_after_it_has_left_does_not_count() {
    let services = services();
    let old = services.of(&web(set(&[A, B], &[]), Some(fragile(100))));
    let new = services.now_at(2, &web(set(&[B], &[]), Some(fragile(100))));
    old.fails(A);
    assert_eq!(old.state_at(A).breaker.phase().0, Phase::Open);
    assert_eq!(new.counts(), (1, 0, 0));
    tokio::time::advance(Duration::from_secs(2)).await;
    let probe = old.try_endpoint(at(A)).unwrap().unwrap();
    assert!(probe.is_probe());
    probe.ended(Outcome::Success);
    assert_eq!(old.state_at(A).breaker.phase().0, Phase::Closed);
    drop(old);
    assert_eq!(new.counts(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_drains_does_not_count_and_counts_again_when_it_is_back() {
    let services = services();
    let first = services.of(&web(set(&[A, B], &[]), Some(fragile(100))));
    first.fails(A);
    let draining = services.now_at(2, &web(set(&[B], &[A]), Some(fragile(100))));
    assert_eq!(draining.counts(), (1, 0, 0));
    let back = services.now_at(3, &web(set(&[A, B], &[]), Some(fragile(100))));
    assert_eq!(back.counts(), (2, 1, 0));
    tokio::time::advance(Duration::from_secs(2)).await;
    back.try_endpoint(at(A))
        .unwrap()
        .unwrap()
        .ended(Outcome::Success);
    assert_eq!(back.counts(), (2, 0, 0));
}

/// Without a policy the last closed endpoint stays closed: the last that anybody may choose.
#[tokio::test(start_paused = true)]
async fn draining_endpoints_are_no_reason_to_open_the_only_ready_one() {
    let view = services().of(&web(set(&[A], &[B, C]), None));
    (0..20).for_each(|_| view.fails(A));
    assert_eq!(view.state_at(A).breaker.phase().0, Phase::Closed);
}

/// It was interrupted after it had read the snapshot.
#[tokio::test(start_paused = true)]
async fn a_thread_with_an_older_snapshot_changes_nothing_for_the_others() {
    let services = services();
    let old = web(set(&[A], &[]), Some(fragile(100)));
    let new = web(set(&[A, B], &[]), Some(fragile(100)));
    let latest = services.now_at(2, &new);
    let late = services.now_at(1, &old);
    assert!(Arc::ptr_eq(late.state_at(A), latest.state_at(A)));
    assert_eq!(latest.counts(), (2, 0, 0));
    assert!(Arc::ptr_eq(&latest, &services.now_at(2, &new)));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_ends_after_checks_were_given_up_marks_nothing() {
    let services = services();
    let old = services.of(&web(set(&[A, B], &[]), Some(checked())));
    let fails = |view: &View| services.checked_endpoint(view, old.state_at(A), false);
    assert_eq!(fails(&old), Some(false));
    assert_eq!(old.counts(), (2, 0, 1));
    let new = services.now_at(2, &web(set(&[A, B], &[]), None));
    assert_eq!(new.counts(), (2, 0, 0));
    assert_eq!(fails(&old), None);
    assert_eq!(new.counts(), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn results_of_checks_count_over_changes_of_the_endpoints() {
    let services = services();
    let old = services.of(&web(set(&[A, B], &[]), Some(checked())));
    let new = services.now_at(2, &web(set(&[A], &[]), Some(checked())));
    assert_eq!(
        services.checked_endpoint(&old, old.state_at(A), false),
        Some(false)
    );
    assert_eq!(
        services.checked_endpoint(&old, old.state_at(B), false),
        Some(false)
    );
    assert_eq!(
        new.counts(),
        (1, 0, 1),
        "the one that has left does not count"
    );
    assert_eq!(
        services.checked_endpoint(&new, new.state_at(A), true),
        Some(true)
    );
    assert_eq!(new.counts(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn rate_limits_go_on_counting_until_they_change() {
    let services = services();
    let limited = |burst: u32| Policy {
        rate_limits: vec![crate::model::traffic_policy::RateLimit {
            requests: 1,
            per: Duration::from_secs(60),
            burst,
            by: RateLimitBy::All,
        }],
        ..Policy::default()
    };
    let takes = |view: &View| view.limiters()[0].1.take(0, view.hub.now()).is_ok();
    let view = services.of(&web(set(&[A], &[]), Some(limited(1))));
    assert!(takes(&view) && !takes(&view));
    let view = services.now_at(2, &web(set(&[A, B], &[]), Some(limited(1))));
    assert!(!takes(&view));
    let view = services.now_at(3, &web(set(&[A, B], &[]), Some(limited(2))));
    assert!(takes(&view));
}
