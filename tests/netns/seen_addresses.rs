//! Who sees which address: accept(), getpeername() and getsockname() of both applications say what
//! they would say without a mesh.

use std::net::{IpAddr, SocketAddr};

use weir_tests::{Mesh, Pod, Proc, ServiceHandle};

#[test]
fn both_ends_see_real_addresses_between_nodes() {
    let (mesh, client, server) = Mesh::client_and_server();
    check_all(&mesh, &client, &server);
    mesh.expect_tunnelled(&client, &server, 6);
}

#[test]
fn both_ends_see_real_addresses_on_one_node() {
    let mesh = Mesh::new(1);
    let client = mesh.pod("client", "n1").enrolled();
    let server = mesh.pod("server", "n1").enrolled();
    check_all(&mesh, &client, &server);
    mesh.expect_counted(&client, &server, &[], 6);
}

fn check_all(mesh: &Mesh, client: &Pod, server: &Pod) {
    let service = |name, target| -> ServiceHandle { mesh.service(name, 80, target, &[server]) };
    let (dual, v4only) = (service("dual", 8080), service("v4only", 8081));
    let dual_app = server.serve_on("whoami", "[::]:8080");
    let v4_app = server.serve_on("whoami", "0.0.0.0:8081");
    mesh.start_agents();

    let (own4, own6) = (client.ipv4(), client.ipv6());
    check(client, dual.v4, own4, &dual_app, server.v4(8080));
    check(client, dual.v6, own6, &dual_app, server.v6(8080));
    check(client, server.v4(8080), own4, &dual_app, server.v4(8080));
    check(client, server.v6(8080), own6, &dual_app, server.v6(8080));
    check(client, v4only.v4, own4, &v4_app, server.v4(8081));
    check(client, server.v4(8081), own4, &v4_app, server.v4(8081));
}

fn check(client: &Pod, dialled: SocketAddr, own: IpAddr, app: &Proc, served: SocketAddr) {
    let before = app.count("accepted");
    let talk = client.talk(dialled, &["line"]);
    assert!(talk.is_ok(), "{talk:?}");
    assert_eq!((talk.peer(), talk.local().ip()), (dialled, own));

    let accepted = app.event(|event| event["event"] == "accepted" && event["id"] == before);
    let addr = |field: &str| -> SocketAddr { accepted[field].as_str().unwrap().parse().unwrap() };
    for field in ["accept", "peer"] {
        assert_eq!(
            addr(field).ip().to_canonical(),
            own,
            "{field} in {accepted}"
        );
        // A dual-stack socket names IPv4 clients in its own family's form.
        assert_eq!(
            addr(field).is_ipv6(),
            served.is_ipv6() || served.port() == 8080
        );
    }
    assert_eq!(addr("accept"), addr("peer"));
    let local = addr("local");
    assert_eq!(
        SocketAddr::new(local.ip().to_canonical(), local.port()),
        served
    );
}
