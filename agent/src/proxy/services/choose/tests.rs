use std::collections::HashMap;

use super::{super::testing::*, *};
use crate::{
    model::traffic_policy::{CircuitBreaker, HealthCheck, HealthCheckBy, LoadBalancer},
    traffic::breaker::Outcome,
};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";
const SIX: &str = "[fd00::1]:80";

const ALL: [Algorithm; 6] = [
    Algorithm::Ewma,
    Algorithm::LeastRequest,
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::RingHash,
    Algorithm::Maglev,
];

fn by(algorithm: Algorithm) -> Policy {
    Policy {
        load_balancer: Some(LoadBalancer {
            algorithm,
            ..LoadBalancer::default()
        }),
        ..Policy::default()
    }
}

fn fragile(algorithm: Algorithm) -> Policy {
    Policy {
        circuit_breaker: Some(CircuitBreaker {
            consecutive_errors: 1,
            ..CircuitBreaker::default()
        }),
        ..by(algorithm)
    }
}

/// How often each was chosen.
fn chosen(view: &Arc<View>, wanted: &Wanted<'_>, times: u32) -> HashMap<Endpoint, u32> {
    let balancer = Balancer::new(7);
    let mut chosen = HashMap::new();
    for n in 0..times {
        let wanted = Wanted {
            hash: wanted
                .hash
                .map(|hash| hash ^ u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ..*wanted
        };
        let (endpoint, _trial) = view.chooses(&balancer, &wanted).unwrap();
        *chosen.entry(endpoint).or_default() += 1;
    }
    chosen
}

fn only(view: &Arc<View>, wanted: &Wanted<'_>) -> Endpoint {
    let chosen = chosen(view, wanted, 100);
    assert_eq!(chosen.len(), 1, "{chosen:?}");
    chosen.into_keys().next().unwrap()
}

/// With and without anything to hash.
fn wants() -> [Wanted<'static>; 3] {
    [
        anybody(),
        Wanted {
            hash: Some(7),
            ..anybody()
        },
        Wanted {
            connection: true,
            ..anybody()
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_uses_every_endpoint() {
    for algorithm in ALL {
        let view = services().of(&web(set(&[A, B, C], &[]), Some(by(algorithm))));
        for wanted in wants() {
            let chosen = chosen(&view, &wanted, 600);
            assert_eq!(chosen.len(), 3, "{algorithm:?}");
            assert!(
                chosen.values().all(|n| *n > 100),
                "{algorithm:?}: {chosen:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hash_always_has_the_same_endpoint_and_moves_only_while_that_is_unfit() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let view = services().of(&web(set(&[A, B, C], &[]), Some(fragile(algorithm))));
        let balancer = Balancer::new(7);
        let of = |hash: u64| {
            let wanted = Wanted {
                hash: Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                ..anybody()
            };
            view.chooses(&balancer, &wanted).unwrap().0
        };
        let before: Vec<Endpoint> = (0..100).map(of).collect();
        assert_eq!(before, (0..100).map(of).collect::<Vec<_>>());
        view.fails(A);
        for (hash, before) in before.into_iter().enumerate() {
            let now = of(hash as u64);
            assert_ne!(now, at(A));
            assert!(before == at(A) || before == now, "{algorithm:?} {hash}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_were_tried_come_no_more() {
    for algorithm in ALL {
        let view = services().of(&web(set(&[A, B, C], &[]), Some(by(algorithm))));
        for wanted in wants() {
            let tried = [at(A), at(C)];
            let wanted = Wanted {
                tried: &tried,
                ..wanted
            };
            assert_eq!(only(&view, &wanted), at(B), "{algorithm:?}");
            let tried = [at(A), at(B), at(C)];
            let wanted = Wanted {
                tried: &tried,
                ..wanted
            };
            let none = view.chooses(&Balancer::new(7), &wanted).err();
            assert_eq!(none, Some(Unfit::AllTried));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tripped_ones_are_left_alone_and_probed_first_when_their_time_is_over() {
    for algorithm in ALL {
        let view = services().of(&web(set(&[A, B], &[]), Some(fragile(algorithm))));
        let balancer = Balancer::new(7);
        view.fails(A);
        assert_eq!(only(&view, &anybody()), at(B), "{algorithm:?}");
        tokio::time::advance(Duration::from_millis(1001)).await;
        let (probed, probe) = view.chooses(&balancer, &anybody()).unwrap();
        assert_eq!(probed, at(A), "{algorithm:?}: the probe comes first");
        assert!(probe.is_probe());
        assert_eq!(only(&view, &anybody()), at(B), "one probe at a time");
        probe.ended(Outcome::Success);
        assert_eq!(
            chosen(
                &view,
                &Wanted {
                    hash: Some(7),
                    ..anybody()
                },
                100
            )
            .len(),
            2
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cancelled_makes_room_for_another() {
    let view = services().of(&web(set(&[A], &[]), Some(fragile(Algorithm::Ewma))));
    view.fails(A);
    let none = view.chooses(&Balancer::new(7), &anybody()).err();
    let retry_in = Duration::from_secs(1);
    assert_eq!(none, Some(Unfit::Tripped { retry_in }));
    tokio::time::advance(Duration::from_millis(1001)).await;
    for _ in 0..3 {
        let (_, probe) = view.chooses(&Balancer::new(7), &anybody()).unwrap();
        assert!(view.chooses(&Balancer::new(7), &anybody()).is_err());
        drop(probe);
    }
}

#[tokio::test(start_paused = true)]
async fn unhealthy_ones_are_left_alone() {
    let policy = Policy {
        health_check: Some(HealthCheck {
            by: HealthCheckBy::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy: 1,
            unhealthy: 1,
        }),
        ..Policy::default()
    };
    let services = services();
    let view = services.of(&web(set(&[A, B], &[]), Some(policy)));
    services.checked_endpoint(&view, view.state_at(A), false);
    assert_eq!(only(&view, &anybody()), at(B));
    services.checked_endpoint(&view, view.state_at(B), false);
    let none = view.chooses(&Balancer::new(7), &anybody()).err();
    assert_eq!(none, Some(Unfit::None));
    services.checked_endpoint(&view, view.state_at(A), true);
    assert_eq!(only(&view, &anybody()), at(A));
}

#[tokio::test(start_paused = true)]
async fn each_family_has_its_own_and_the_other_where_there_is_none() {
    for algorithm in ALL {
        let view = services().of(&web(set(&[A, SIX], &[]), Some(by(algorithm))));
        for wanted in wants() {
            assert_eq!(only(&view, &wanted), at(A), "{algorithm:?}");
            let wanted = Wanted {
                ipv6: true,
                ..wanted
            };
            assert_eq!(only(&view, &wanted), at(SIX), "{algorithm:?}");
        }
        let view = services().of(&web(set(&[A], &[]), Some(by(algorithm))));
        let six = Wanted {
            ipv6: true,
            ..anybody()
        };
        assert_eq!(only(&view, &six), at(A), "{algorithm:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn draining_ones_are_used_while_none_is_ready() {
    let view = services().of(&web(set(&[A], &[B]), None));
    assert_eq!(only(&view, &anybody()), at(A));
    let view = services().of(&web(set(&[], &[B]), None));
    assert_eq!(only(&view, &anybody()), at(B));
    let view = services().of(&web(set(&[], &[]), None));
    let none = view.chooses(&Balancer::new(7), &anybody()).err();
    assert_eq!(none, Some(Unfit::None));
}

fn placed(addresses: &[&str], places: Vec<Place>) -> EndpointSet {
    EndpointSet {
        places,
        ..set(addresses, &[])
    }
}

#[tokio::test(start_paused = true)]
async fn near_ones_get_everything_while_enough_of_them_are_fit() {
    for algorithm in ALL {
        let mut policy = fragile(algorithm);
        policy.load_balancer.as_mut().unwrap().locality = Locality::PreferZone;
        let places = vec![
            place("x", ZONE, None),
            place("y", "b", None),
            place("z", "b", None),
        ];
        let view = services().of(&web(placed(&[A, B, C], places), Some(policy)));
        for wanted in wants() {
            assert_eq!(only(&view, &wanted), at(A), "{algorithm:?}");
        }
        view.fails(A);
        assert!(
            !chosen(&view, &anybody(), 100).contains_key(&at(A)),
            "{algorithm:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_service_has_the_endpoints_of_the_node_and_no_others() {
    let local = crate::model::service::Service {
        node_local: true,
        ..a_service()
    };
    let places = vec![place("x", ZONE, None), place(NODE, ZONE, None)];
    let view = services().of(&state(local.clone(), placed(&[A, B], places), None));
    assert_eq!(only(&view, &anybody()), at(B));
    let places = vec![place("x", ZONE, None), place("y", ZONE, None)];
    let view = services().of(&state(local.clone(), placed(&[A, B], places), None));
    let none = view.chooses(&Balancer::new(7), &anybody()).err();
    assert_eq!(none, Some(Unfit::None));
    let view = services().of(&state(local, set(&[A, B], &[]), None));
    assert!(
        view.chooses(&Balancer::new(7), &anybody()).is_err(),
        "nothing is known of any"
    );
}

#[tokio::test(start_paused = true)]
async fn weights_are_shares_and_those_without_any_get_nothing() {
    for algorithm in ALL {
        let weights = [Some(300), Some(100), Some(0)];
        let places = weights.map(|weight| place("x", ZONE, weight)).to_vec();
        let view = services().of(&web(placed(&[A, B, C], places), Some(by(algorithm))));
        for wanted in wants() {
            let chosen = chosen(&view, &wanted, 800);
            assert_eq!(chosen.get(&at(C)), None, "{algorithm:?}");
            let (a, b) = (chosen[&at(A)], chosen[&at(B)]);
            assert!(a > 2 * b && a < 5 * b, "{algorithm:?}: {a} {b}");
        }
    }
}

/// Better than no answer.
#[tokio::test(start_paused = true)]
async fn where_only_those_without_weight_are_left_they_are_used() {
    for algorithm in ALL {
        let weights = [Some(100), Some(0), Some(0)];
        let places = weights.map(|weight| place("x", ZONE, weight)).to_vec();
        let view = services().of(&web(placed(&[A, B, C], places), Some(fragile(algorithm))));
        view.fails(A);
        for wanted in wants() {
            let chosen = chosen(&view, &wanted, 100);
            assert!(!chosen.contains_key(&at(A)), "{algorithm:?}: {chosen:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_places_than_endpoints_are_no_harm() {
    for algorithm in ALL {
        let mut policy = by(algorithm);
        policy.load_balancer.as_mut().unwrap().locality = Locality::PreferNode;
        let places = vec![place("x", "b", Some(1)), place("y", "b", Some(2))];
        let view = services().of(&web(placed(&[A, B, C], places), Some(policy)));
        for wanted in wants() {
            assert_eq!(chosen(&view, &wanted, 600).len(), 3, "{algorithm:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_gets_its_share_by_and_by() {
    let mut policy = by(Algorithm::Random);
    policy.load_balancer.as_mut().unwrap().slow_start = Duration::from_secs(100);
    let services = services();
    services.of(&web(set(&[A], &[]), Some(policy.clone())));
    let view = services.now_at(2, &web(set(&[A, B], &[]), Some(policy)));
    let share = |view| chosen(view, &anybody(), 1000)[&at(B)];
    assert!((40..160).contains(&share(&view)), "{}", share(&view));
    tokio::time::advance(Duration::from_secs(101)).await;
    assert!(share(&view) > 400);
}

#[tokio::test(start_paused = true)]
async fn the_set_of_another_configuration_has_no_endpoint() {
    let view = services().of(&web(set(&[A], &[]), None));
    let other = Arc::new(set(&[A], &[]));
    let none = view.choose(&other, &Balancer::new(7), &anybody()).err();
    assert_eq!(none, Some(Unfit::None));
}
