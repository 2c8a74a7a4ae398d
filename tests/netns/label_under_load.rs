//! A pod enters and leaves the mesh while connections are made to it all the time: not one fails.

use weir_tests::{Mesh, Pod};

#[test]
fn labels_change_under_load_without_a_failed_connection() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    let load = client.load(server.v4(8080), 100);
    load.wait_for_more(50);
    let mut counted = mesh.tunnelled(&client, &server);
    assert!(counted > 0);

    let leave_and_enter = |pod: &Pod| {
        let agent = mesh.agent_of(pod);
        pod.enrol(false);
        agent.wait_released(pod);
        load.wait_for_more(100);
        pod.enrol(true);
        agent.wait_captured(pod);
        load.wait_for_more(100);
    };
    for pod in [&server, &client, &server] {
        leave_and_enter(pod);
        let now = mesh.tunnelled(&client, &server);
        // Captured again, the connections go through the mesh again. A pod that left took its
        // series along, so what is counted may also have begun anew.
        assert!(now > 0 && now != counted, "{now}");
        counted = now;
    }
    let (ok, failures) = load.stop();
    assert!(failures.is_empty(), "{ok} succeeded, but {failures:?}");
}
