//! An application that binds one source port with SO_REUSEADDR and dials many destinations from
//! it at once: the kernel tells the connections apart by where they go, and so must capture.

use std::net::SocketAddr;

use weir_tests::{Mesh, Pod, ServiceHandle};

const DESTINATIONS: usize = 20;

#[test]
fn one_source_port_dials_many_destinations_at_once() {
    let (mesh, client, server) = Mesh::client_and_server();
    let services: Vec<_> = (0..DESTINATIONS)
        .map(|i| mesh.service(&format!("web-{i}"), 80, 8080, &[&server]))
        .collect();
    let _app = server.serve("whoami", 8080);
    mesh.start_agents();

    dial_all(&client, "0.0.0.0:40000".parse().unwrap(), &services[..2]);
    dial_all(&client, client.v4(40001), &services);
    dial_all(&client, client.v6(40002), &services);
    mesh.expect_tunnelled(&client, &server, 2 + 2 * DESTINATIONS as u32);
}

fn dial_all(client: &Pod, from: SocketAddr, services: &[ServiceHandle]) {
    let of_family = |s: &ServiceHandle| if from.is_ipv4() { s.v4 } else { s.v6 }.to_string();
    let addrs: Vec<_> = services.iter().map(of_family).collect();
    let dialler = client
        .testprog(&["dial-many", &from.to_string()])
        .args(&addrs)
        .spawn();
    for addr in &addrs {
        let told = dialler.event(|event| event["to"] == addr.as_str());
        assert!(told["error"].is_null(), "{told}");
        assert_eq!(told["peer"], addr.as_str());
        let local: SocketAddr = told["local"].as_str().unwrap().parse().unwrap();
        let own = if from.is_ipv4() {
            client.ipv4()
        } else {
            client.ipv6()
        };
        assert_eq!((local.ip(), local.port()), (own, from.port()));
    }
}
