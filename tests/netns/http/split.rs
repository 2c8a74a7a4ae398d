//! Traffic by weight, also while the weights change.

use serde_json::{Value, json};
use weir_tests::{Answer, Pod, ServiceHandle};

use super::{Shop, ask, outcome};

/// A coin of 70 % thrown 500 times is 2.4 standard deviations from leaving ±5 points, which one run of
/// sixty would; 2,000 times it is 4.9.
const REQUESTS: usize = 2_000;

fn weights(v1: u32, v2: u32) -> Value {
    json!([{"backendRefs": [
        {"name": "v1", "port": 80, "weight": v1},
        {"name": "v2", "port": 80, "weight": v2},
    ]}])
}

fn percent(answers: &[Answer], wanted: impl Fn(&Answer) -> bool) -> f64 {
    let found = answers.iter().filter(|answer| wanted(answer)).count();
    100.0 * found as f64 / answers.len() as f64
}

fn many(client: &Pod, service: &ServiceHandle) -> Vec<Answer> {
    ask(client, service, "GET /").times(REQUESTS).send_all()
}

/// MeshTrafficSplit, MeshHTTPRouteWeight
#[test]
fn traffic_is_split_by_weight_also_over_one_connection() {
    let shop = Shop::new();
    let web = shop.routed("web", weights(70, 30));
    let zero = shop.routed("zero", weights(0, 1));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let answers = many(client, &web);
        assert_eq!(answers.iter().map(|answer| answer.dials).sum::<u64>(), 1);
        let to_v1 = percent(&answers, |answer| answer.is_from("v1"));
        let to_v2 = percent(&answers, |answer| answer.is_from("v2"));
        assert!((65.0..=75.0).contains(&to_v1), "{to_v1} % to v1");
        assert_eq!(to_v1 + to_v2, 100.0);
        for answer in ask(client, &zero, "GET /").times(50).send_all() {
            assert!(answer.is_from("v2"), "{answer:?}");
        }
    }

    // A canary that takes over, and goes back at once.
    shop.route("web", weights(0, 100));
    for client in shop.clients() {
        ask(client, &web, "GET /").until("the new weights", |answer| answer.is_from("v2"));
        let answers = ask(client, &web, "GET /").times(100).send_all();
        // The old weights may have served the one that ended the wait.
        assert!(percent(&answers[1..], |answer| answer.is_from("v2")) == 100.0);
    }
    shop.mesh
        .expect_requests(&shop.far, &shop.v2, 200, &[], 100);
}

/// MeshHTTPRouteInvalidBackend…: a share of a backend that is not there gets 500, not somebody else's.
#[test]
fn the_share_of_a_backend_that_does_not_exist_gets_500() {
    let shop = Shop::new();
    let rule = |backends: Value| json!([{"backendRefs": backends}]);
    let half = shop.routed(
        "half",
        rule(json!([
            {"name": "v1", "port": 80, "weight": 1},
            {"name": "absent", "port": 80, "weight": 1},
        ])),
    );
    // Without a weight it does not count, and without a sum nobody does.
    let ignored = shop.routed(
        "ignored",
        rule(json!([
            {"name": "v1", "port": 80, "weight": 1},
            {"name": "absent", "port": 80, "weight": 0},
        ])),
    );
    let nobody = shop.routed(
        "nobody",
        rule(json!([{"name": "v1", "port": 80, "weight": 0}])),
    );
    let port = shop.routed("port", rule(json!([{"name": "v1", "port": 81}])));
    let kind = shop.routed(
        "kind",
        rule(json!([{"group": "example.org", "kind": "Bucket", "name": "v1"}])),
    );
    let none = shop.routed(
        "none",
        json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]),
    );
    shop.mesh.http_service("empty", &[]);
    let empty = shop.routed("to-empty", super::all_to("empty"));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let answers = many(client, &half);
        let failed = percent(&answers, |answer| {
            outcome(answer) == "500 backend_not_found"
        });
        assert!((45.0..=55.0).contains(&failed), "{failed} % got 500");
        let served = percent(&answers, |answer| answer.is_from("v1"));
        assert_eq!(failed + served, 100.0);
        for answer in ask(client, &ignored, "GET /").times(50).send_all() {
            assert!(answer.is_from("v1"), "{answer:?}");
        }
    }
    for service in [&nobody, &port, &kind, &none] {
        shop.expect(service, &[("GET /", "500 backend_not_found")]);
    }
    // A backend that is there and has nobody behind it is another matter.
    shop.expect(&empty, &[("GET /", "503 no_healthy_endpoint")]);
}
