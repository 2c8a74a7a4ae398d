//! Endpoints that do not answer: another one is tried, and if there is none the application hears
//! of it at once, and an operator why.

use std::time::Duration;

use weir_tests::{Mesh, manifests::Endpoint};

#[test]
fn a_healthy_endpoint_is_tried_before_the_application_hears() {
    let (mesh, client, server) = Mesh::client_and_server();
    let silent = mesh.pod("silent", "n2").enrolled();
    let web = mesh.service("web", 80, 8080, &[&silent, &server]);
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();

    for _ in 0..10 {
        client.expect_echo(web.v4);
    }
    mesh.expect_tunnelled(&client, &server, 10);
    // The dead one was met, and told of where it is.
    mesh.agent_of(&silent)
        .expect_failures(&["connect_refused"], 1);
}

#[test]
fn an_address_of_nobody_is_passed_over() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let nobody = Endpoint::from("10.9.77.77".parse::<std::net::IpAddr>().unwrap());
    let somebody = Endpoint::from(server.ipv4());
    web.set_endpoints(&[nobody, somebody]);
    let _echo = server.serve("echo", 8080);
    mesh.start_agents();

    for _ in 0..4 {
        client.expect_echo(web.v4);
    }
    mesh.expect_tunnelled(&client, &server, 4);
}

#[test]
fn a_refusal_reaches_the_application_fast_and_has_a_reason() {
    let (mesh, client, server) = Mesh::client_and_server();
    let web = mesh.service("web", 80, 8080, &[&server]);
    let empty = mesh.service("empty", 80, 8080, &[]);
    mesh.start_agents();
    let (source, destination) = (mesh.agent_of(&client), mesh.agent_of(&server));

    // Nothing listens in the pod.
    let talk = client.hello(web.v4);
    assert!(
        talk.is_refused() && talk.took() < Duration::from_secs(2),
        "{talk:?}"
    );
    destination.expect_failures(&["connect_refused"], 1);
    source.expect_failures(&["hbone_refused"], 1);
    source.expect_logged(&["hbone_refused"]);

    // No endpoint at all.
    let talk = client.hello(empty.v4);
    assert!(
        talk.is_refused() && talk.took() < Duration::from_secs(2),
        "{talk:?}"
    );
    source.expect_failures(&["no_healthy_endpoint"], 1);
    source.expect_logged(&["no_healthy_endpoint"]);
}
