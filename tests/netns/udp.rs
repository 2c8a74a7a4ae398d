//! connect() on a UDP socket is no business of the mesh.

use weir_tests::Mesh;

#[test]
fn udp_is_left_alone() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 5353, 5353, &[&server]);
    let udp = server.testprog(&["udp-serve", "[::]:5353"]).spawn();
    udp.event_named("listening");
    mesh.start_agents();

    for addr in [server.v4(5353), server.v6(5353)] {
        let talk = client
            .testprog(&["udp-talk", &addr.to_string(), "hi"])
            .spawn();
        let answered = talk.event_named("answered");
        assert_eq!(answered["peer"], addr.to_string().as_str());
        assert_eq!(answered["received"], "hi");
    }
    // A service address, which only the mesh answers for TCP.
    let talk = client
        .testprog(&["udp-talk", &web.v4.to_string(), "hi"])
        .spawn();
    assert_eq!(
        talk.event_named("connected")["peer"],
        web.v4.to_string().as_str()
    );
    let agent = mesh.agent_of(&client);
    assert!(
        agent.verdicts("outbound_not_tcp") >= 3.0,
        "{:?}",
        agent.metrics().starting_with("weir_capture")
    );
    assert_eq!(mesh.tunnelled(&client, &server), 0);
}
