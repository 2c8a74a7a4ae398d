//! `RequestMirror`: copies that the client never notices.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{Proc, eventually, never};

use super::{Shop, ask, to};

fn mirror(service: &str, more: Value) -> Value {
    let mut mirror = json!({"backendRef": {"name": service, "port": 80}});
    for (key, value) in more.as_object().into_iter().flatten() {
        mirror[key] = value.clone();
    }
    json!({"type": "RequestMirror", "requestMirror": mirror})
}

/// Requests that an application received at `path`, whole.
fn received(app: &Proc, path: &str) -> usize {
    let is_it = |event: &&Value| event["event"] == "received" && event["path"] == path;
    app.events().iter().filter(is_it).count()
}

/// HTTPRouteRequestMirror, HTTPRouteRequestMultipleMirrors
#[test]
fn a_mirror_gets_the_request_and_never_delays_or_fails_it() {
    let shop = Shop::new();
    let silent = shop.mesh.pod("silent", "n2").enrolled();
    let _silent = silent.serve("silent", 8080);
    shop.mesh.http_service("silent", &[&silent]);
    // Nothing listens on its port.
    let dead = shop.mesh.pod("dead", "n2").enrolled();
    shop.mesh.http_service("dead", &[&dead]);
    shop.mesh.http_service("empty", &[]);
    let third = shop.mesh.pod("third", "n1").enrolled();
    let third_app = third.http(8080);
    shop.mesh.http_service("third", &[&third]);
    let none = json!({});
    let web = shop.routed(
        "web",
        json!([
            {"matches": [{"path": {"type": "PathPrefix", "value": "/two"}}], "backendRefs": to("v1"),
             "filters": [mirror("v2", none.clone()), mirror("third", none.clone())]},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/bad"}}], "backendRefs": to("v1"),
             "filters": [mirror("silent", none.clone()), mirror("dead", none.clone()), mirror("empty", none.clone()), mirror("absent", none)]},
        ]),
    );
    shop.mesh.start_agents();

    // The mirror's answer is nobody's: it comes from v1 whatever v2 says.
    let body = shop.far.dir().join("body");
    std::fs::write(&body, "x".repeat(200_000)).unwrap();
    let body = format!("@{}", body.display());
    let before = shop.apps[1].count("request");
    for client in shop.clients() {
        let answer = ask(client, &web, "POST /two x-request-id:abc")
            .body(&body)
            .send();
        assert!(answer.is_from("v1"), "{answer:?}");
        let answer = ask(client, &web, "GET /two/get").send();
        assert!(answer.is_from("v1"), "{answer:?}");
    }
    for app in [&shop.apps[1], &third_app] {
        eventually("the mirrors are there", Duration::from_secs(5), || {
            let (posts, gets) = (received(app, "/two"), received(app, "/two/get"));
            ((posts, gets) == (2, 2)).then_some(()).ok_or((posts, gets))
        });
        let whole = |event: &Value| {
            event["event"] == "received" && event["path"] == "/two" && event["bytes"] == 200_000
        };
        assert_eq!(app.events().into_iter().filter(whole).count(), 2);
    }
    assert_eq!(before, 0);
    assert_eq!(received(&shop.apps[0], "/two"), 2, "once, not once more");

    // Mirrors that hang, refuse, have no endpoint or do not exist.
    for client in shop.clients() {
        let answers = ask(client, &web, "GET /bad").times(50).send_all();
        assert!(
            answers.iter().all(|answer| answer.is_from("v1")),
            "{answers:?}"
        );
        let took: Duration = answers.iter().map(|answer| answer.took).sum();
        assert!(took < Duration::from_secs(2), "50 requests took {took:?}");
        // A body that is larger than what may wait for a mirror still arrives whole.
        let large = client.dir().join("large");
        std::fs::write(&large, vec![b'x'; 8 << 20]).unwrap();
        let answer = ask(client, &web, "POST /bad")
            .flags(&["--data-binary", &format!("@{}", large.display())])
            .send();
        assert_eq!(answer.report()["body_bytes"], 8 << 20, "{answer:?}");
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 53);
}

/// HTTPRouteRequestPercentageMirror
#[test]
fn a_share_of_the_requests_is_mirrored() {
    let shop = Shop::new();
    let web = shop.routed(
        "web",
        json!([
            {"matches": [{"path": {"type": "PathPrefix", "value": "/percent"}}], "backendRefs": to("v1"),
             "filters": [mirror("v2", json!({"percent": 20}))]},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/fraction"}}], "backendRefs": to("v1"),
             "filters": [mirror("v2", json!({"fraction": {"numerator": 1, "denominator": 4}}))]},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/never"}}], "backendRefs": to("v1"),
             "filters": [mirror("v2", json!({"percent": 0}))]},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/always"}}], "backendRefs": to("v1"),
             "filters": [mirror("v2", json!({"percent": 100}))]},
        ]),
    );
    shop.mesh.start_agents();

    let send = |path: &str, count: usize| {
        let answers = ask(&shop.far, &web, &format!("GET {path}"))
            .times(count)
            .send_all();
        assert!(answers.iter().all(|answer| answer.is_from("v1")));
    };
    send("/percent", 1000);
    send("/fraction", 1000);
    send("/never", 100);
    send("/always", 100);
    let mirrored = |path: &str| received(&shop.apps[1], path);
    eventually("the last mirrors are there", Duration::from_secs(5), || {
        (mirrored("/always") == 100)
            .then_some(())
            .ok_or_else(|| mirrored("/always"))
    });
    // 1,000 coins of 20 % have a standard deviation of 1.3 points: five of them either side.
    eventually("a share", Duration::from_secs(5), || {
        let (percent, fraction) = (mirrored("/percent"), mirrored("/fraction"));
        let holds = (136..=264).contains(&percent) && (181..=319).contains(&fraction);
        holds.then_some(()).ok_or((percent, fraction))
    });
    never("a mirror of nothing", Duration::from_millis(100), || {
        (mirrored("/never") > 0).then(|| mirrored("/never"))
    });
}
