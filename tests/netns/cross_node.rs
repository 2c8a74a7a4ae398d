//! Two nodes: what is between them is TLS, in both directions.

use weir_tests::{Mesh, hbone};

#[test]
fn redis_between_nodes_is_encrypted() {
    let (mesh, client, server) = Mesh::client_and_server();
    let redis = mesh.service("redis", 6379, 6379, &[&server]);
    let _redis = server.redis(6379);
    mesh.start_agents();

    let sniffer = mesh.sniff();
    let host = redis.v4.ip().to_string();
    let cli = |args: &[&str]| {
        client
            .command("redis-cli")
            .args(["-h", &host])
            .args(args)
            .run()
            .expect_ok()
    };
    assert_eq!(cli(&["set", "key", "the-secret"]).trim(), "OK");
    assert_eq!(cli(&["get", "key"]).trim(), "the-secret");
    let frames = sniffer.stop();

    assert!(frames.has_client_hello_to(hbone::PORT));
    assert!(!frames.contain(b"the-secret"), "plaintext on the wire");
    assert_eq!(frames.bytes_to_port(6379), 0);
    mesh.expect_tunnelled(&client, &server, 2);
}
