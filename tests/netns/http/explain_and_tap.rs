//! `weir explain` says beforehand where a request then goes; `weir tap` shows it as it ends.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use weir_tests::{Mesh, Proc, ServiceHandle, eventually};

use super::{Shop, ask, outcome, to};

const PATIENCE: Duration = Duration::from_secs(20);

/// What `weir` writes that is run on a node.
#[track_caller]
fn weir(mesh: &Mesh, node: &str, args: &[&str]) -> String {
    mesh.weir(node, args).run().expect_ok()
}

/// A running `weir tap`, once the agent knows of it: what ended before is not shown.
fn tap(shop: &Shop, service: &ServiceHandle, args: &[&str]) -> Proc {
    let tap = shop.mesh.weir("n1", &["tap"]).args(args).spawn();
    eventually("the tap shows requests", PATIENCE, || {
        let answer = shop.far.get(service.v4, "/probe");
        match tap.stdout().contains("/probe") {
            true => Ok(()),
            false => Err((answer.status, tap.stderr())),
        }
    });
    tap
}

#[test]
fn a_request_goes_where_explain_says() {
    let shop = Shop::new();
    let web = shop.routed(
        "web",
        json!([
            {"name": "beta", "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}, "headers": [{"name": "x-beta", "value": "yes"}]}], "backendRefs": to("v2")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/gone"}}], "backendRefs": to("nobody")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "backendRefs": to("v1")},
        ]),
    );
    shop.mesh.start_agents();

    for (line, end, entry) in [
        ("GET /v1", "shop/v1:80", "header x-beta is absent"),
        ("GET /v1 x-beta:yes", "shop/v2:80", "matches as well"),
        ("GET /", "no_route", "path / is not below /v1"),
        (
            "GET /gone",
            "backend_not_found",
            "path /gone is not below /v1",
        ),
    ] {
        let mut words = line.split(' ').skip(1);
        let url = format!("http://web.shop{}", words.next().unwrap());
        let mut args = vec!["explain", "--from", "shop/far", "--to", &url];
        let headers: Vec<String> = words.map(|word| word.replace(':', ": ")).collect();
        args.extend(headers.iter().flat_map(|header| ["-H", header]));
        let text = weir(&shop.mesh, "n1", &args);
        assert!(text.contains(entry), "no {entry:?} in\n{text}");
        args.extend(["--output", "json"]);
        let told: Value = serde_json::from_str(&weir(&shop.mesh, "n1", &args)).unwrap();
        let said = &told["outcomes"][0];
        let seen = outcome(&ask(&shop.far, &web, line).send());
        let expected = match said["kind"].as_str().unwrap() {
            "sent" => said["to"]
                .as_str()
                .unwrap()
                .replace("shop/", "")
                .replace(":80", ""),
            _ => format!("{} {}", said["status"], said["reason"].as_str().unwrap()),
        };
        assert!(said["to"] == end || said["reason"] == end, "{told}");
        assert_eq!(seen, expected, "{line}\n{text}");
    }

    // From the folder, without an agent, the same.
    let args = ["explain", "--from", "shop/far", "--to", "http://web/v1"];
    let folder = shop.mesh.manifests().dir().to_str().unwrap();
    let offline = weir(
        &shop.mesh,
        "n2",
        &[&args[..], &["--config", folder]].concat(),
    );
    assert_eq!(offline, weir(&shop.mesh, "n1", &args));
    assert!(offline.contains("mutual TLS"), "{offline}");
    // Within a node there is no wire.
    let near = ["explain", "--from", "shop/near", "--to", "http://web/v1"];
    assert!(weir(&shop.mesh, "n2", &near).contains("within the node"));
}

#[test]
fn a_tap_shows_requests_without_their_secrets() {
    let shop = Shop::new();
    let web = shop.routed("web", json!([{"name": "all", "backendRefs": to("v1")}]));
    shop.mesh.start_agents();
    let gets = tap(
        &shop,
        &web,
        &["--output", "json", "-X", "GET", "--namespace", "shop"],
    );
    let text = tap(&shop, &web, &["--path", "/", "--pod", "shop/far"]);

    ask(&shop.far, &web, "POST /unseen").send();
    let answer = shop
        .far
        .request(web.v4, "/seen?card=4111")
        .header("authorization", "Bearer 4111")
        .header("x-plain", "shown")
        .send();
    assert_eq!(outcome(&answer), "v1");

    let event = gets.event(|event| event["path"] == "/seen");
    assert_eq!(event["response_code"], 200);
    assert_eq!(event["source_pod"], "far");
    assert_eq!(event["route"], "HTTPRoute/shop/web");
    assert_eq!(event["rule"], "all");
    assert_eq!(event["backend"], "shop/v1:80");
    let headers = event["request_headers"].to_string();
    assert!(
        headers.contains(r#"["authorization","[redacted]"]"#),
        "{headers}"
    );
    assert!(headers.contains(r#"["x-plain","shown"]"#), "{headers}");
    assert!(!gets.stdout().contains("4111"), "{}", gets.stdout());
    assert!(!gets.stdout().contains("/unseen"), "{}", gets.stdout());

    let line = eventually("the line", PATIENCE, || {
        let out = text.stdout();
        let line = out.lines().find(|line| line.contains("/seen"));
        line.map(str::to_owned).ok_or(out.clone())
    });
    assert!(line.contains("shop/far -> shop/v1 GET"), "{line}");
    assert!(
        line.contains("HTTPRoute/shop/web rule all to shop/v1:80"),
        "{line}"
    );

    // Ctrl-C ends it well.
    text.signal(Signal::INT);
    let ended = text.finish();
    assert!(ended.ok(), "{ended:?}");
    let one = shop.mesh.weir("n1", &["tap", "--max", "1"]).spawn();
    let ended = eventually("a tap of one request", PATIENCE, || {
        shop.far.get(web.v4, "/");
        one.exit_within(Duration::from_millis(100)).ok_or("it runs")
    });
    assert!(
        ended.success() && one.stdout().lines().count() == 1,
        "{}",
        one.stdout()
    );
}
