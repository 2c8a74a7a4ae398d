//! A pod goes away under live connections: its peers hear of it, nothing of it stays.

use std::time::Duration;

use weir_tests::{Mesh, eventually};

#[test]
fn a_deleted_pod_takes_its_connections_along_and_leaves_nothing() {
    let (mesh, client, server) = Mesh::client_and_server();
    let other = mesh.pod("other", "n2").enrolled();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let app = server.serve("echo", 8080);
    let _other = other.serve("echo", 8080);
    mesh.start_agents();
    let talker = client.talker(&[], web.v4, &["send:x", "recv:1", "drain"]);
    talker.event(|event| event["step"] == "recv:1");
    mesh.expect_tunnelled(&client, &server, 1);

    server.delete();
    assert!(
        mesh.destroy(server, Duration::from_secs(10)),
        "somebody holds the namespace"
    );
    drop(app);
    let ended = talker.finish_within(Duration::from_secs(10));
    assert!(ended.stdout.contains(r#""step":"drain""#), "{ended:?}");

    let agent = mesh.agent_on("n2");
    agent.wait_ready();
    client.expect_echo(other.v4(8080));
    mesh.expect_tunnelled(&client, &other, 1);
    // A series ends with its pod.
    eventually("the pod's series are gone", Duration::from_secs(10), || {
        let text = agent.get("/metrics").unwrap().1;
        (!text.contains(r#"destination_workload="server""#))
            .then_some(())
            .ok_or(text)
    });
}
