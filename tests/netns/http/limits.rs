//! What a request may cost: sizes, times, memory.

use std::time::Duration;

use weir_tests::{Answer, Mesh, Pod, never};

use super::{Shop, all_to, ask, outcome};

const MIB: u64 = 1 << 20;

#[test]
fn heads_that_are_too_large_are_refused() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();

    let value = "x".repeat(7_000);
    for client in shop.clients() {
        for h2 in [false, true] {
            let plain = || {
                let request = ask(client, &web, "GET /");
                if h2 { request.h2() } else { request }
            };
            // 56 KiB pass, 112 KiB do not: the limit is 64 KiB.
            let several = |count: usize| {
                (0..count).fold(plain(), |request, number| {
                    request.header(&format!("x-{number}"), &value)
                })
            };
            assert!(several(8).send().is_from("v1"));
            // curl itself sends no more than 64 KiB over HTTP/2: there the number decides.
            if !h2 {
                let large = several(16).send();
                assert_eq!(outcome(&large), "431 headers_too_large");
            }
            let many = (0..500).fold(plain(), |request, number| {
                request.header(&format!("x-{number}"), "1")
            });
            assert_eq!(outcome(&many.send()), "431 headers_too_large", "h2: {h2}");

            let target = |bytes: usize| {
                let request = client.request(web.v4, &format!("/{}", "p".repeat(bytes)));
                if h2 { request.h2() } else { request }
            };
            assert!(target(12_000).send().is_from("v1"));
            assert_eq!(
                outcome(&target(20_000).send()),
                "414 uri_too_long",
                "h2: {h2}"
            );
            if !h2 {
                assert_eq!(target(100_000).send().status / 100, 4);
            }
        }
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
    }
    shop.mesh.expect_requests(&shop.far, &shop.v1, 200, &[], 5);
}

/// Slowloris: heads that never end are ended, and keep nobody else out meanwhile.
#[test]
fn a_head_that_does_not_end_is_ended() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();

    let head = "GET / HTTP/1.1\r\nHost: web\r\nX-Slow: ";
    let patient = ["--patience", "45"];
    let talk = |head: &str| {
        shop.far
            .talker(&patient, web.v4, &[&format!("send:{head}"), "drain"])
    };
    let slow: Vec<_> = (0..50).map(|_| talk(head)).collect();
    // In the middle of HTTP/2's preface, and with nothing said at all.
    let preface = talk("PRI * HTTP/2.0\r\n");
    for _ in 0..20 {
        let answer = ask(&shop.far, &web, "GET /").send();
        assert!(
            answer.is_from("v1") && answer.took < Duration::from_secs(2),
            "{answer:?}"
        );
    }
    for client in slow.into_iter().chain([preface]) {
        let run = client.finish_within(Duration::from_secs(50));
        let report: serde_json::Value =
            serde_json::from_str(run.stdout.lines().last().unwrap_or_default()).unwrap_or_default();
        assert!(
            report["error"].is_null() || report["error"] == "reset",
            "{report}"
        );
        let received = report["received"].as_str().unwrap_or_default();
        assert!(
            received.is_empty() || received.starts_with("HTTP/1.1 408"),
            "{report}"
        );
        let seconds = report["ms"].as_f64().unwrap_or_default() / 1e3;
        assert!((5.0..40.0).contains(&seconds), "{report}");
    }
    assert!(ask(&shop.far, &web, "GET /").send().is_from("v1"));
}

fn rss(mesh: &Mesh, pods: &[&Pod]) -> Vec<u64> {
    pods.iter()
        .map(|pod| mesh.agent_of(pod).process().rss_bytes())
        .collect()
}

#[test]
fn an_upload_of_a_gibibyte_costs_bounded_memory() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();

    for client in shop.clients() {
        let file = client.dir().join("gibibyte");
        std::fs::File::create(&file)
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
        let before = rss(&shop.mesh, &shop.clients());
        let upload = ask(client, &web, "POST / expect:")
            .flags(&["-T", &file.display().to_string(), "--max-time", "120"])
            .start();
        let watch = || {
            let now = rss(&shop.mesh, &shop.clients());
            let grown = now
                .iter()
                .zip(&before)
                .map(|(now, before)| now.saturating_sub(*before));
            grown.max().unwrap_or(0)
        };
        let mut most = 0;
        let answers = weir_tests::wait_for(Duration::from_secs(130), || {
            most = most.max(watch());
            (!upload.is_running()).then(|| Answer::read_all(&upload.stdout()))
        });
        let answers = answers.unwrap_or_default();
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].report()["body_bytes"], 1 << 30, "{answers:?}");
        // Of a gibibyte of zeros.
        let sum = answers[0].report()["body_sha256"].to_string();
        assert!(sum.starts_with("\"49bc20df15e412a6"), "{sum}");
        assert!(
            most < 64 * MIB,
            "from {}: grown by {} MiB",
            client.name(),
            most / MIB
        );
    }
}

#[test]
fn a_thousand_slow_streams_cost_bounded_memory() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();
    assert!(ask(&shop.far, &web, "GET /").send().is_from("v1"));

    let before = rss(&shop.mesh, &shop.clients());
    let load = shop
        .far
        .command("h2load")
        .args(["-n", "1000", "-c", "10", "-m", "100"])
        .arg(format!("http://{}/?chunks=10&every=1s", web.v4))
        .spawn();
    let all_at_once = || {
        let (requests, ended) = (
            shop.apps[0].count("request"),
            shop.apps[0].count("streamed"),
        );
        requests.saturating_sub(ended)
    };
    let (mut most, mut open) = (0, 0);
    weir_tests::wait_for(Duration::from_secs(40), || {
        let now = rss(&shop.mesh, &shop.clients());
        let grown = now
            .iter()
            .zip(&before)
            .map(|(now, before)| now.saturating_sub(*before));
        most = most.max(grown.max().unwrap_or(0));
        open = open.max(all_at_once());
        (!load.is_running()).then_some(())
    });
    let run = load.finish().expect_ok();
    assert!(run.contains("1000 succeeded, 0 failed, 0 errored"), "{run}");
    let connections = shop.apps[0].count("accepted");
    let told = || format!("no more than {open} at once over {connections} connections:\n{run}");
    assert!(open > 900, "{}", told());
    assert!(most < 64 * MIB, "grown by {} MiB", most / MIB);
}

/// Back-pressure from end to end: what a client does not read is not read from the application.
#[test]
fn an_answer_that_is_not_read_is_not_kept() {
    let shop = Shop::new();
    let web = shop.routed("web", all_to("v1"));
    shop.mesh.start_agents();
    assert!(ask(&shop.far, &web, "GET /").send().is_from("v1"));

    for client in shop.clients() {
        let before = rss(&shop.mesh, &shop.clients());
        let head = "GET /?bytes=1000000000 HTTP/1.1\r\nHost: web\r\n\r\n";
        let unread: Vec<_> = (0..8)
            .map(|_| client.talker(&[], web.v4, &[&format!("send:{head}"), "recv:1000", "wait"]))
            .collect();
        for talker in &unread {
            talker.event(|event| event["step"] == "recv:1000");
        }
        never(
            "the agents keep what is not read",
            Duration::from_secs(2),
            || {
                let now = rss(&shop.mesh, &shop.clients());
                let grown = now
                    .iter()
                    .zip(&before)
                    .map(|(now, before)| now.saturating_sub(*before));
                grown.max().filter(|grown| *grown > 96 * MIB)
            },
        );
        assert!(ask(client, &web, "GET /").send().is_from("v1"));
    }
}
