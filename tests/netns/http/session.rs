//! `sessionPersistence`: a canary for chosen users, not a coin per request.

use serde_json::{Value, json};
use weir_tests::{Answer, Pod, ServiceHandle};

use super::{Shop, ask};

const USERS: usize = 12;

fn rules(v1: u32, v2: u32, kind: &str) -> Value {
    json!([{
        "sessionPersistence": {"sessionName": "shop-session", "type": kind},
        "backendRefs": [
            {"name": "v1", "port": 80, "weight": v1},
            {"name": "v2", "port": 80, "weight": v2},
        ],
    }])
}

/// Who a client is to the mesh: what the first answer gave it, and who gave it.
struct User {
    carries: (String, String),
    server: String,
}

impl User {
    fn new(client: &Pod, service: &ServiceHandle, kind: &str) -> Self {
        let first = ask(client, service, "GET /").send();
        assert_eq!(first.status, 200, "{first:?}");
        let carries = if kind == "Cookie" {
            let cookie = first.header("set-cookie").expect("a new session's cookie");
            let pair = cookie.split(';').next().unwrap_or_default();
            assert!(pair.starts_with("shop-session="), "{cookie}");
            ("cookie".to_owned(), format!("theme=dark; {pair}"))
        } else {
            let token = first
                .header("shop-session")
                .expect("a new session's header");
            ("shop-session".to_owned(), token.to_owned())
        };
        Self {
            carries,
            server: first.server(),
        }
    }

    #[track_caller]
    fn expect_stays(&self, client: &Pod, service: &ServiceHandle) {
        let (name, value) = &self.carries;
        let request = ask(client, service, "GET /").header(name, value);
        let answers: Vec<Answer> = request.times(10).send_all();
        for answer in &answers {
            assert!(answer.is_from(&self.server), "{}: {answer:?}", self.server);
        }
    }
}

#[test]
fn a_session_stays_with_its_version_while_the_weights_change() {
    let shop = Shop::new();
    let services = [("Cookie", "by-cookie"), ("Header", "by-header")]
        .map(|(kind, name)| (kind, shop.routed(name, rules(50, 50, kind))));
    shop.mesh.start_agents();

    for (kind, service) in &services {
        let users: Vec<_> = (0..USERS)
            .map(|number| User::new(shop.clients()[number % 2], service, kind))
            .collect();
        // Both versions have some: 2 to the -11 otherwise.
        for version in ["v1", "v2"] {
            assert!(users.iter().any(|user| user.server == version), "{version}");
        }
        for (v1, v2) in [(50, 50), (95, 5), (0, 100)] {
            shop.route(&service.name, rules(v1, v2, kind));
            if v1 == 0 {
                // New users go as the weights say now.
                let stranger = ask(&shop.far, service, "GET /");
                for _ in 0..20 {
                    stranger.until("the new weights", |answer| answer.is_from("v2"));
                }
            }
            for (number, user) in users.iter().enumerate() {
                // An agent of another node reads what one wrote.
                user.expect_stays(shop.clients()[(number + 1) % 2], service);
            }
        }
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 20);
}

/// Without a split, the session is with an endpoint; when that goes, with another.
#[test]
fn a_session_moves_when_its_endpoint_goes() {
    let shop = Shop::new();
    let both = shop.service("both");
    let web = shop.routed(
        "web",
        json!([{
            "sessionPersistence": {"sessionName": "shop-session"},
            "backendRefs": [{"name": "both", "port": 80}],
        }]),
    );
    shop.mesh.start_agents();

    let user = User::new(&shop.far, &web, "Cookie");
    for client in shop.clients() {
        user.expect_stays(client, &web);
    }
    let (stays, other) = match user.server.as_str() {
        "v1" => (&shop.v2, "v2"),
        _ => (&shop.v1, "v1"),
    };
    both.set_pods(&[stays]);
    let (name, value) = &user.carries;
    let request = ask(&shop.far, &web, "GET /").header(name, value);
    let moved = request.until("the session has moved", |answer| answer.is_from(other));
    let cookie = moved.header("set-cookie").unwrap_or_default();
    assert!(cookie.starts_with("shop-session="), "{moved:?}");
    // What nobody gave out is no session and no error.
    let forged = ask(&shop.far, &web, "GET /").header("cookie", "shop-session=../../etc");
    assert!(forged.send().is_from(other));
}
