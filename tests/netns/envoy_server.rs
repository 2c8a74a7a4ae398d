//! A captured pod tunnels to Envoy: an HBONE server that is not Weir's code.

use weir_tests::{MUTUAL_TLS, envoy, hbone};

use crate::peer_and_pod;

#[test]
fn a_captured_pod_reaches_envoy() {
    let (mesh, peer, client) = peer_and_pod("client");
    let web = mesh.service("web", 80, 8080, &[&peer]);
    let _app = peer.serve_on("echo", "127.0.0.1:8080");
    let envoy = envoy::server(&peer, &mesh.identity_of(&peer), 8080, &client.principal());

    let sniffer = mesh.sniff();
    for addr in [peer.v4(8080), peer.v6(8080)] {
        client.expect_echo(addr);
    }
    weir_tests::eventually(
        "the service is known",
        std::time::Duration::from_secs(3),
        || {
            let talk = client.hello(web.v4);
            talk.is_ok().then_some(()).ok_or(talk)
        },
    );
    let frames = sniffer.stop();
    assert!(frames.has_client_hello_to(hbone::PORT) && !frames.contain(b"hello"));

    let stream = envoy.event(|event| event["authority"] == peer.v4(8080).to_string().as_str());
    assert_eq!(
        (&stream["method"], &stream["tls"]),
        (&"CONNECT".into(), &"TLSv1.3".into())
    );
    assert_eq!(stream["peer_uri"], client.principal());
    let peer_address = stream["peer"].as_str().unwrap();
    assert!(
        peer_address.starts_with(&client.ipv4().to_string()),
        "{stream}"
    );
    let agent = mesh.agent_of(&client);
    mesh.expect_reported("source", &agent, &client, &peer, &MUTUAL_TLS, 3);
}
