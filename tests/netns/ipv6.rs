//! IPv6 from end to end.

use weir_tests::{Mesh, hbone};

#[test]
fn ipv6_leads_through_the_mesh() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let app = server.serve_on("whoami", &format!("[{}]:8080", server.ipv6()));
    mesh.start_agents();

    let sniffer = mesh.sniff();
    for addr in [web.v6, server.v6(8080)] {
        let talk = client.talk(addr, &["line", "send:hello", "recv:5"]);
        assert!(talk.is_ok(), "{talk:?}");
        assert_eq!((talk.peer(), talk.local().ip()), (addr, client.ipv6()));
    }
    let frames = sniffer.stop();
    assert!(frames.has_client_hello_to(hbone::PORT) && !frames.contain(b"hello"));
    assert_eq!(
        weir_tests::ip_in(&app.event_named("accepted"), "accept"),
        Some(client.ipv6())
    );
    mesh.expect_tunnelled(&client, &server, 2);
}
