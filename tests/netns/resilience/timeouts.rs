//! `timeouts`, `retries.perTryTimeout` and deadlines of gRPC: to the millisecond, and to the end that
//! still works on what nobody waits for.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{
    Answer, Pod, ServiceHandle, eventually,
    manifests::{self, parent},
};

use super::{SLACK, SOON, Shop, expect_metric, never_opens, no_retries};
use crate::http::{ask, outcome};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[track_caller]
fn assert_after(answer: &Answer, after: Duration) {
    let range = after..after + SLACK;
    assert!(
        range.contains(&answer.took),
        "not after {after:?}: {answer:?}"
    );
}

/// The endpoint's application stops working on what has run out of time.
#[track_caller]
fn expect_cancelled(shop: &Shop, app: usize, at_least: u64) {
    eventually("the application is told", SOON, || {
        let cancelled = shop.apps[app].counted("cancelled");
        (cancelled >= at_least).then_some(()).ok_or(cancelled)
    });
}

#[test]
fn requests_end_in_time_and_are_cancelled_upstream() {
    let shop = Shop::of(1);
    let web = shop.service("web", json!({"timeouts": {"request": "500ms"}}));
    let idle = shop.service("idle", json!({"timeouts": {"idle": "600ms"}}));
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        for h2 in [false, true] {
            let request = |service: &ServiceHandle, line: &str| {
                let request = ask(client, service, line);
                if h2 { request.h2() } else { request }
            };
            let late = request(&web, "GET /?hang").send();
            assert_eq!(outcome(&late), "504 request_timeout", "{late:?}");
            assert_after(&late, ms(500));
            // All of it: the body too.
            let cut = request(&web, "GET /?chunks=20&every=100ms").send();
            assert!(cut.status == 200 && cut.error.is_some(), "{cut:?}");
            assert_after(&cut, ms(500));
            assert!(request(&web, "GET /?delay=100ms").send().is_from("v1"));

            let silent = request(&idle, "GET /?hang").send();
            assert_eq!(outcome(&silent), "504 idle_timeout", "{silent:?}");
            assert_after(&silent, ms(600));
            // As long as bytes pass it is not idle.
            let slow = request(&idle, "GET /?chunks=5&every=300ms").send();
            assert!(
                slow.error.is_none() && slow.body.contains("chunk 4"),
                "{slow:?}"
            );
        }
        expect_cancelled(&shop, 0, 4);
        let agent = shop.mesh.agent_of(client);
        agent.expect_logged(&["request_timeout"]);
        agent.expect_logged(&["idle_timeout"]);
    }
}

/// An endpoint that drops what is sent to it, and says nothing.
#[test]
fn an_endpoint_that_does_not_answer_is_given_up_in_time() {
    let shop = Shop::of(2);
    let silent = &shop.pods[0];
    let policy = json!({
        "timeouts": {"connect": "400ms"},
        "retries": no_retries(),
        "circuitBreaker": never_opens(),
        "loadBalancer": {"algorithm": "round-robin"},
    });
    let web = shop.service_of("web", &[silent], policy.clone());
    let both = shop.service("both", policy.clone());
    shop.policy("opaque", &policy);
    let opaque = shop.mesh.service("opaque", 80, 8080, &[silent]);
    silent.vanish();
    shop.mesh.start_agents();

    let timed_out = ["connect_timeout", "tunnel_connect_timeout"];
    for _ in 0..2 {
        let answer = ask(&shop.far, &web, "GET /").send();
        assert!(matches!(answer.status, 503 | 504), "{answer:?}");
        assert!(
            timed_out.contains(&answer.reason().unwrap_or_default()),
            "{answer:?}"
        );
        assert_after(&answer, ms(400));

        let talk = shop.far.hello(opaque.v4);
        assert!(talk.is_refused(), "{talk:?}");
        let range = ms(400)..ms(400) + SLACK;
        assert!(range.contains(&talk.took()), "{talk:?}");
    }
    // Where none was reached nothing was sent: another one is dialled whatever the attempts.
    for _ in 0..4 {
        let answer = ask(&shop.far, &both, "POST /").send();
        assert!(
            answer.is_from("v2") && answer.took < ms(400) + SLACK,
            "{answer:?}"
        );
    }
    let agent = shop.mesh.agent_of(&shop.far);
    agent.expect_failures(&timed_out, 2);
    agent.expect_logged(&timed_out);
    // It comes back as if nothing had been.
    silent.come_back();
    ask(&shop.far, &web, "GET /").until("it answers", |answer| answer.is_from("v1"));
}

#[test]
fn idle_connections_of_opaque_bytes_are_ended() {
    let shop = Shop::of_echo(1);
    let web = shop.service("web", json!({"timeouts": {"idle": "1s"}}));
    let patient = shop.without_policy("patient", &[&shop.pods[0]]);
    shop.mesh.start_agents();

    for client in shop.clients() {
        let other = client.talker(
            &[],
            patient.v4,
            &["send:a", "recv:1", "wait", "send:b", "recv:1"],
        );
        other.event(|event| event["step"] == "recv:1");
        let idle = client.talk(web.v4, &["send:a", "recv:1", "drain"]);
        let range = ms(1000)..ms(1500) + SLACK;
        assert!(range.contains(&idle.took()), "{idle:?}");
        other.tell("go on");
        assert!(other.finish().stdout.contains(r#""received":"ab""#));
        shop.mesh
            .agent_of(client)
            .expect_failures(&["idle_timeout"], 1);
    }
}

#[test]
fn a_try_has_a_time_of_its_own() {
    let shop = Shop::of(2);
    let policy = |attempts: u32| {
        json!({
            "timeouts": {"request": "5s"},
            "retries": {
                "attempts": attempts,
                "on": ["gateway-error"],
                "perTryTimeout": "300ms",
                "budget": {"percent": 100, "minPerSecond": 1000},
            },
            "circuitBreaker": never_opens(),
        })
    };
    let twice = shop.service("twice", policy(1));
    let once = shop.service("once", policy(0));
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        // One of the two hangs: at most the first try is lost.
        shop.apps[0].order("answer hang");
        let answers: Vec<_> = (0..6)
            .map(|_| ask(client, &twice, "GET /").send())
            .collect();
        assert!(
            answers.iter().all(|answer| answer.is_from("v2")),
            "{answers:?}"
        );
        let slow: Vec<_> = answers
            .iter()
            .filter(|answer| answer.took >= ms(300))
            .collect();
        for answer in &slow {
            assert_after(answer, ms(300));
        }
        expect_cancelled(&shop, 0, slow.len() as u64);
        // Both: both tries are.
        shop.apps[1].order("answer hang");
        let late = ask(client, &twice, "GET /").send();
        assert_eq!(outcome(&late), "504 backend_timeout", "{late:?}");
        assert!((ms(600)..ms(900) + SLACK).contains(&late.took), "{late:?}");
        let late = ask(client, &once, "GET /").send();
        assert_eq!(outcome(&late), "504 backend_timeout", "{late:?}");
        assert_after(&late, ms(300));
        shop.order("answer");
    }
}

/// A call as curl makes it, which knows of no deadline: what ends it is Weir.
fn grpc(client: &Pod, service: &ServiceHandle, query: &str, timeout: &str) -> Answer {
    ask(client, service, &format!("POST /shop.Cart/Unary?{query}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body("")
        .h2()
        .send()
}

/// The deadline that the application has seen.
fn passed_on(answer: &Answer) -> Duration {
    let text = answer.seen("grpc-timeout").unwrap_or_default();
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number
        .parse()
        .unwrap_or_else(|_| panic!("no deadline: {answer:?}"));
    match unit {
        "S" => Duration::from_secs(number),
        "m" => ms(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => panic!("no deadline: {answer:?}"),
    }
}

/// gRPC over HTTP/2, "Requests": `grpc-timeout`.
#[test]
fn deadlines_of_calls_are_kept_and_passed_on() {
    let shop = Shop::of(1);
    let web = shop.service("web", json!({}));
    let bounded = shop.service("bounded", json!({"timeouts": {"request": "400ms"}}));
    let slow = shop.service(
        "slow",
        json!({"fault": {"delay": {"percent": 100, "duration": "300ms"}}}),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        shop.forget();
        for (service, timeout, after) in [
            (&web, "300m", 300),
            (&web, "1S", 1000),
            (&bounded, "5S", 400),
            (&slow, "600000u", 600),
        ] {
            let late = grpc(client, service, "hang", timeout);
            assert_eq!(late.header("grpc-status"), Some("4"), "{late:?}");
            assert_after(&late, ms(after));
        }
        expect_cancelled(&shop, 0, 4);
        for (service, timeout, range) in [
            (&web, "2S", ms(1500)..=ms(2000)),
            (&bounded, "5S", ms(1)..=ms(400)),
            (&slow, "2S", ms(1000)..=ms(1700)),
        ] {
            let seen = passed_on(&grpc(client, service, "", timeout));
            assert!(range.contains(&seen), "{timeout}: {seen:?}");
        }
        let agent = shop.mesh.agent_of(client);
        let status = [("grpc_response_status", "4")];
        expect_metric(&agent, "istio_requests_total", &status, 4);
    }
}

/// A client of gRPC's own and its server, which counts the time that is left.
#[test]
fn a_deadline_reaches_the_server_shortened() {
    let shop = Shop::of_grpc(1);
    let slow = shop.service(
        "slow",
        json!({"fault": {"delay": {"percent": 100, "duration": "500ms"}}}),
    );
    shop.mesh.start_agents();

    for client in shop.clients() {
        let call = client
            .call(slow.v4, "/shop.Cart/Unary")
            .deadline(Duration::from_secs(4))
            .send();
        let remaining = call.answers()[0]["remaining"].as_f64().unwrap_or_default();
        assert!((2.0..=3.6).contains(&remaining), "{call:?}");
        let late = client
            .call(slow.v4, "/shop.Cart/Unary")
            .message(&json!({"delay": 3}))
            .deadline(Duration::from_millis(1000))
            .send();
        assert_eq!(late.code(), "DEADLINE_EXCEEDED", "{late:?}");
    }
    eventually("both are cancelled", SOON, || {
        let cancelled = shop.apps[0].count("cancelled");
        (cancelled == 2).then_some(()).ok_or(cancelled)
    });
}

/// The rule's own field, then a policy on the rule, then one on the service; field by field.
#[test]
fn the_nearest_word_counts() {
    let shop = Shop::of(1);
    let web = shop.service(
        "web",
        json!({"timeouts": {"request": "900ms", "idle": "600ms"}}),
    );
    let rule = |name: &str, timeouts: Value| {
        json!({
            "name": name,
            "matches": [{"path": {"type": "PathPrefix", "value": format!("/{name}")}}],
            "timeouts": timeouts,
            "backendRefs": [manifests::backend("web")],
        })
    };
    let rules = json!([
        rule("own", json!({"request": "300ms"})),
        rule("policy", json!({})),
        rule("both", json!({"request": "300ms"})),
        rule("none", json!({"request": "0s"})),
        rule("service", json!({})),
    ]);
    shop.mesh
        .apply(&manifests::http_route("shop", "web", parent("web"), rules));
    for name in ["policy", "both"] {
        let spec = json!({"timeouts": {"request": "500ms"}});
        let target = manifests::rule("web", name);
        shop.mesh
            .apply(&manifests::traffic_policy("shop", name, target, &spec));
    }
    shop.mesh.start_agents();

    for client in shop.clients() {
        for (rule, after) in [
            ("own", 300),
            ("policy", 500),
            ("both", 300),
            ("service", 900),
        ] {
            let line = format!("GET /{rule}?chunks=20&every=100ms");
            let cut = ask(client, &web, &line).send();
            assert!(cut.error.is_some(), "{rule}: {cut:?}");
            assert_after(&cut, ms(after));
        }
        // No limit, said on purpose, is a word too, and says nothing of the others.
        let line = "GET /none?chunks=11&every=100ms";
        let whole = ask(client, &web, line).send();
        assert!(
            whole.error.is_none() && whole.body.contains("chunk 10"),
            "{whole:?}"
        );
        let idle = ask(client, &web, "GET /none?hang").send();
        assert_eq!(outcome(&idle), "504 idle_timeout");
    }
}
