//! Two thousand connections that are open and silent, and still there.

use weir_tests::{Mesh, never};

const CONNECTIONS: u32 = 2000;

#[test]
fn two_thousand_idle_connections_stay() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let app = server.serve("echo", 8080);
    mesh.start_agents();

    let held = client
        .testprog(&["hold", &web.v4.to_string(), &CONNECTIONS.to_string()])
        .spawn();
    held.event_named("open");
    mesh.expect_tunnelled(&client, &server, CONNECTIONS);

    never(
        "a silent connection is closed",
        std::time::Duration::from_secs(3),
        || (app.count("closed") > 0).then(|| app.stdout()),
    );
    held.tell("check");
    assert_eq!(held.event_named("checked")["ok"], CONNECTIONS);
    for agent in [mesh.agent_of(&client), mesh.agent_of(&server)] {
        let rss = agent.process().rss_bytes() >> 20;
        assert!(rss < 100, "the agent of {} has {rss} MiB", agent.node());
    }
}
