//! One gibibyte in both directions at once, every byte checked where it arrives.

use std::time::Duration;

use weir_tests::{Mesh, Pod};

const GIB: u64 = 1 << 30;
const DEADLINE: Duration = Duration::from_secs(240);

#[test]
fn a_gibibyte_both_ways_between_nodes() {
    let (mesh, client, server) = Mesh::client_and_server();
    transfer(&mesh, &client, &server);
    mesh.expect_tunnelled(&client, &server, 1);
}

#[test]
fn a_gibibyte_both_ways_on_one_node() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh.pod("server", "n1").enrolled();
    transfer(&mesh, &client, &server);
    mesh.expect_counted(&client, &server, &[], 1);
}

fn transfer(mesh: &Mesh, client: &Pod, server: &Pod) {
    let web = mesh.service("web", 80, 8080, &[server]);
    let app = server.serve(&format!("bulk:{GIB}"), 8080);
    mesh.start_agents();

    let bulk = client
        .testprog(&["bulk", &web.v4.to_string(), &GIB.to_string()])
        .spawn();
    let run = bulk.finish_within(DEADLINE).expect_ok();
    let client_saw: serde_json::Value = serde_json::from_str(&run).unwrap();
    let server_saw = app.event_named("served");
    for saw in [client_saw, server_saw] {
        assert!(saw["error"].is_null() && saw["received"] == GIB, "{saw}");
    }
    for agent in [mesh.agent_of(client), mesh.agent_of(server)] {
        let rss = agent.process().rss_bytes() >> 20;
        assert!(
            rss < 200,
            "the agent of {} has grown to {rss} MiB",
            agent.node()
        );
    }
}
