//! Each request of a connection finds its own endpoint.

use std::{collections::BTreeMap, time::Duration};

use weir_tests::{Answer, eventually};

use super::{Shop, ask};

fn by_server(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut servers = BTreeMap::new();
    for answer in answers {
        *servers.entry(answer.server()).or_default() += 1;
    }
    servers
}

/// MeshFrontend: a service without a route balances over its endpoints.
#[test]
fn requests_of_one_connection_are_spread_over_the_endpoints() {
    let shop = Shop::new();
    let web = shop.service("web");
    shop.mesh.start_agents();

    for client in shop.clients() {
        let answers = ask(client, &web, "GET /").times(200).send_all();
        assert_eq!(answers.iter().map(|answer| answer.dials).sum::<u64>(), 1);
        let servers = by_server(&answers);
        assert_eq!(servers.values().sum::<usize>(), 200, "{servers:?}");
        assert!(servers["v1"] >= 50 && servers["v2"] >= 50, "{servers:?}");
        // One connection of HTTP/2.
        let counts = || [0, 1].map(|app| shop.apps[app].count("request"));
        let before = counts();
        let url = format!("http://{}/", web.v4);
        let h2load = client
            .command("h2load")
            .args(["-n", "200", "-c", "1", "-m", "1", &url]);
        assert!(h2load.run().expect_ok().contains("200 2xx"));
        let here = [0, 1].map(|app| counts()[app] - before[app]);
        assert!(here.iter().all(|&n| n >= 50), "{here:?}");
    }
    shop.mesh
        .expect_requests(&shop.far, &shop.v1, 200, &[], 100);
    shop.mesh
        .expect_requests(&shop.far, &shop.v2, 200, &[], 100);
    // The warm connections to the applications are far fewer than the requests.
    for app in &shop.apps {
        let (requests, connections) = (app.count("request"), app.count("accepted"));
        assert!(
            requests >= 200 && connections <= 20,
            "{connections} for {requests}"
        );
    }
}

/// h2load: many streams at once over few connections, not one of them lost.
#[test]
fn many_streams_at_once_are_all_answered() {
    let shop = Shop::new();
    let web = shop.service("web");
    shop.mesh.start_agents();

    for client in shop.clients() {
        for flags in [&["-m", "20"][..], &["--h1"][..]] {
            let run = client
                .command("h2load")
                .args(["-n", "4000", "-c", "4"])
                .args(flags)
                .arg(format!("http://{}/", web.v4))
                .run()
                .expect_ok();
            let all = "4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored";
            assert!(run.contains(all), "{run}");
            assert!(run.contains("4000 2xx"), "{run}");
        }
    }
    eventually("both have had their share", Duration::from_secs(5), || {
        let shares: Vec<_> = shop.apps.iter().map(|app| app.count("request")).collect();
        let even = shares.iter().sum::<usize>() == 16_000 && shares.iter().all(|&n| n > 4_000);
        even.then_some(()).ok_or(shares)
    });
    shop.mesh
        .expect_requests(&shop.far, &shop.v1, 200, &[], 2_000);
}

/// An endpoint that goes while requests flow takes none of them with it.
#[test]
fn an_endpoint_that_is_drained_costs_no_request() {
    let shop = Shop::new();
    let web = shop.service("web");
    shop.mesh.start_agents();

    let load = ask(&shop.far, &web, "GET /?delay=2ms").times(1_000).start();
    let served = |app: usize| shop.apps[app].count("request");
    eventually("both are asked", Duration::from_secs(5), || {
        (served(0) > 50 && served(1) > 50).then_some(()).ok_or(())
    });
    web.set_pods(&[&shop.v2]);
    let answers = Answer::read_all(&load.finish().stdout);
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|answer| answer.status == 200));
    ask(&shop.far, &web, "GET /").until("v1 is out", |answer| answer.is_from("v2"));
    let after = ask(&shop.far, &web, "GET /").times(50).send_all();
    assert!(after.iter().all(|answer| answer.is_from("v2")));
    let before = by_server(&answers);
    assert!(before["v2"] > before["v1"], "{before:?}");
}
