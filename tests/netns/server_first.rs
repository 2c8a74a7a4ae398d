//! Protocols in which the server speaks first (MySQL, SMTP): no detection may hold them back.

use std::time::Duration;

use weir_tests::Mesh;

#[test]
fn a_greeting_arrives_though_the_client_says_nothing() {
    let (mesh, client, server) = Mesh::client_and_server();
    let mysql = mesh.service("mysql", 3306, 3306, &[&server]);
    let _greeter = server.serve("greet", 3306);
    mesh.start_agents();

    let talks: Vec<_> = (0..10).map(|_| client.talk(mysql.v4, &["line"])).collect();
    assert!(
        talks
            .iter()
            .all(|talk| talk.received() == "5.7.0-greeter\n"),
        "{talks:?}"
    );
    // The first has to open the tunnel; of the others a busy machine may slow some.
    let quickest = talks.iter().map(weir_tests::Talk::took).min();
    assert!(quickest < Some(Duration::from_millis(50)), "{talks:?}");
    assert!(
        talks
            .iter()
            .all(|talk| talk.took() < Duration::from_secs(2)),
        "{talks:?}"
    );
    mesh.expect_tunnelled(&client, &server, 10);
}
