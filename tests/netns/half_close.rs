//! Either end may finish its direction and go on receiving.

use weir_tests::{Mesh, Pod, ServiceHandle};

#[test]
fn half_close_between_nodes() {
    let (mesh, client, server) = Mesh::client_and_server();
    both_ways(&mesh, &client, &server);
    mesh.expect_tunnelled(&client, &server, 2);
}

#[test]
fn half_close_on_one_node() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh.pod("server", "n1").enrolled();
    both_ways(&mesh, &client, &server);
    mesh.expect_counted(&client, &server, &[], 2);
}

fn both_ways(mesh: &Mesh, client: &Pod, server: &Pod) {
    let service = |name, port| -> ServiceHandle { mesh.service(name, port, port, &[server]) };
    let (replies, closes) = (service("replies", 8081), service("closes", 8082));
    let _replies = server.serve("reply-at-eof", 8081);
    let closer = server.serve("close-first", 8082);
    mesh.start_agents();

    // The client first: the answer to its end still comes.
    let talk = client.talk(replies.v4, &["send-bytes:100000", "eof", "drain"]);
    assert!(
        talk.is_ok() && talk.received() == "got 100000\n",
        "{talk:?}"
    );

    // The server first: what the client says afterwards still arrives.
    let talk = client.talk(closes.v4, &["drain", "send-bytes:100000", "eof"]);
    assert!(talk.is_ok() && talk.received() == "bye\n", "{talk:?}");
    let closed = closer.event_named("closed");
    assert!(
        closed["how"] == "eof" && closed["received"] == 100_000,
        "{closed}"
    );
}
