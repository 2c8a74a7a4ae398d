//! A captured client and a server that is not in the mesh: plain TCP, in both modes, since modes
//! are about who comes in.

use std::time::Duration;

use weir_tests::{Mesh, eventually, manifests};

#[test]
fn a_server_outside_the_mesh_gets_plain_tcp() {
    for mode in ["PERMISSIVE", "STRICT"] {
        let mesh = Mesh::new(1);
        let client = mesh.pod("client", "n1").enrolled();
        let server = mesh.pod("server", "n2").listed();
        let web = mesh.service("web", 80, 8080, &[&server]);
        let app = server.serve("echo", 8080);
        mesh.apply(&manifests::peer_authentication(
            "shop",
            "default",
            None,
            mode,
            &[],
        ));
        mesh.start_agents();

        // The service address works by the mesh alone.
        client.expect_echo(web.v4);
        client.expect_echo(web.v6);
        let accepted = app.event_named("accepted");
        let seen = weir_tests::ip_in(&accepted, "accept")
            .unwrap()
            .to_canonical();
        assert_eq!(seen, client.ipv4());
        let plain = [
            ("reporter", "source"),
            ("source_workload", "client"),
            ("destination_workload", "server"),
            ("destination_service_name", "web"),
            ("connection_security_policy", "none"),
        ];
        eventually("plaintext is counted", Duration::from_secs(5), || {
            let metrics = mesh.agent_on("n1").metrics();
            let seen = metrics.sum("istio_tcp_connections_opened_total", &plain);
            (seen >= 2.0).then_some(()).ok_or(format!("{metrics:?}"))
        });
    }
}
