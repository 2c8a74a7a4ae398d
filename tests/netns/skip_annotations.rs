//! `weir.dev/skip-*` annotations: the named ports and ranges go round the mesh, the rest through it.

use weir_tests::{Mesh, manifests};

#[test]
fn skipped_ports_and_ranges_go_round_the_mesh() {
    let mesh = Mesh::new(2);
    let client = mesh
        .pod("client", "n1")
        .annotation("weir.dev/skip-outbound-ports", "9001")
        .annotation(
            "weir.dev/skip-outbound-cidrs",
            "10.9.2.0/24, fd00:9::2:0/112",
        )
        .enrolled();
    let server = mesh
        .pod("server", "n2")
        .annotation("weir.dev/skip-inbound-ports", "9000")
        .enrolled();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let odd = mesh.service("odd", 9001, 9000, &[&server]);
    let stranger = mesh.outside("stranger");
    let _apps = [server.serve("echo", 8080), server.serve("echo", 9000)];
    mesh.apply(&manifests::peer_authentication(
        "shop",
        "default",
        None,
        "STRICT",
        &[],
    ));
    mesh.start_agents();

    // Inbound: STRICT does not see the skipped port.
    stranger.expect_echo(server.v4(9000));
    stranger.expect_echo(server.v6(9000));
    assert!(stranger.hello(server.v4(8080)).is_refused());

    // Outbound range: the pod's address is dialled as it is, and so refused by STRICT.
    for addr in [server.v4(8080), server.v6(8080)] {
        assert!(client.hello(addr).is_refused());
    }
    client.expect_echo(server.v4(9000));
    assert_eq!(mesh.tunnelled(&client, &server), 0);

    // Outbound port: nobody but the mesh knows the service's address.
    assert_eq!(client.hello(odd.v4).error(), "unreachable");

    // What is not named goes through.
    client.expect_echo(web.v4);
    mesh.expect_tunnelled(&client, &server, 1);
    assert!(mesh.agent_of(&client).verdicts("outbound_skipped") >= 4.0);
    assert!(mesh.agent_of(&server).verdicts("inbound_skipped") >= 2.0);
}

#[test]
fn skips_change_live() {
    let (mesh, client, server) = Mesh::client_and_server();
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();
    client.expect_echo(server.v4(8080));
    mesh.expect_tunnelled(&client, &server, 1);

    client.annotate("weir.dev/skip-outbound-ports", "8080");
    weir_tests::eventually(
        "the port is skipped",
        std::time::Duration::from_secs(3),
        || {
            let before = mesh.tunnelled(&client, &server);
            client.expect_echo(server.v4(8080));
            let skipped = mesh.agent_of(&client).verdicts("outbound_skipped");
            if skipped >= 1.0 && mesh.tunnelled(&client, &server) == before {
                Ok(())
            } else {
                Err(skipped)
            }
        },
    );
    mesh.expect_plaintext_in(&server, 1);
}
