//! Every kind of client and host.

use super::*;
use crate::model::{
    limits::HBONE_PORT,
    policy::{MtlsMode, PeerAuthentication},
    service::{Service, ServicePort},
};

fn headless(text: &str) -> Service {
    Service {
        vips: Vec::new(),
        ..service(text, "10.96.0.99")
    }
}

#[test]
fn a_services_names_and_address_are_the_same() {
    for host in [
        "web",
        "WEB",
        "web.shop",
        "web.shop.svc",
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
        "10.96.0.1",
        "[::ffff:10.96.0.1]",
    ] {
        let told = World::new().get(&format!("http://{host}/"));
        assert_eq!(sent_to(&told), "shop/web:80", "{host}");
        assert_eq!(told.destination.service.as_deref(), Some("shop/web"));
    }
}

#[test]
fn a_short_name_is_of_the_clients_namespace() {
    let other = |from: &str, host: &str| {
        let world = World::new().with(service("other/only", "10.96.0.77"));
        world.ask(from, host, "GET", &[])
    };
    assert!(left_alone(&other("shop", "only")).contains("no service shop/only"));
    let told = other("other", "only");
    assert_eq!(told.destination.service.as_deref(), Some("other/only"));
}

#[test]
fn what_is_elsewhere_is_left_alone() {
    for (host, why) in [
        // By the search domains a name of two labels may be a service's.
        ("example.com", "no service com/example"),
        ("www.example.com", "none of a service of the cluster"),
        ("a.b.web.shop.svc.cluster.local", "none of a service"),
        ("cluster.local", "no service local/cluster"),
        ("198.51.100.7", "no service's address"),
        ("127.0.0.1:8080", "loopback"),
        ("nobody", "no service shop/nobody"),
    ] {
        let told = World::new().get(&format!("http://{host}/"));
        assert!(left_alone(&told).contains(why), "{told}");
    }
}

#[test]
fn endpoints_are_reached_each_in_its_way() {
    let told = World::new().get("http://web/");
    let ways: Vec<_> = told.backends[0]
        .endpoints
        .iter()
        .map(|e| (&*e.address, e.pod.as_deref(), e.way, e.identity.is_some()))
        .collect();
    assert_eq!(
        ways,
        [
            ("10.0.1.1:8080", Some("shop/web-1"), "sameNode", true),
            ("10.0.1.2:8080", Some("shop/web-2"), "tunnel", true),
            ("192.0.2.1:8080", None, "plain", false),
        ]
    );
    assert_eq!(told.client.enrolled, Some(true));
    let text = told.to_string();
    for part in [
        "GET http://web/\n",
        "pod shop/cart-1 on node n1, enrolled, spiffe://cluster.local/ns/shop/sa/default",
        "the first bytes decide",
        "routes       none",
        "10.0.1.2:8080 shop/web-2 on n2, mutual TLS, spiffe://cluster.local/ns/shop/sa/default",
        "192.0.2.1:8080, plaintext\n",
        "outcome      sent to shop/web:80\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn a_pods_own_address_has_no_routes() {
    let told = World::new().get("http://10.0.1.2:8080/");
    assert_eq!(sent_to(&told), "10.0.1.2:8080");
    assert!(told.routing.is_none());
    assert_eq!(told.backends[0].endpoints[0].way, "tunnel");
    let told = World::new().get(&format!("http://10.0.1.2:{HBONE_PORT}/"));
    assert_eq!(refused(&told).0, 403);
    let told = World::new().get("http://10.0.0.1/");
    assert!(left_alone(&told).contains("the client's own address"));
}

#[test]
fn a_headless_service_is_its_pods() {
    let world = World::new().with(headless("shop/web"));
    let told = world.get("http://web:8080/");
    assert_eq!(sent_to(&told), "shop/web:8080");
    assert_eq!(told.backends[0].usable, 3);
    assert!(told.destination.is.contains("headless"), "{told}");
    let told = World::new()
        .with(headless("shop/empty"))
        .get("http://empty/");
    assert!(matches!(outcome(&told), Outcome::LeftAlone { .. }));
}

#[test]
fn who_is_not_enrolled_hears_what_to_do() {
    let out = Pod {
        mesh: Some(MeshLabel::Disabled),
        ..pod("shop/out", "10.0.9.1")
    };
    let told = World::new()
        .with(out.clone())
        .ask("shop/out", "web", "GET", &[]);
    let why = left_alone(&told);
    assert!(
        why.contains("its own label weir.dev/mesh is disabled"),
        "{why}"
    );
    assert!(!why.contains("STRICT"), "{why}");

    let strict = PeerAuthentication {
        name: crate::model::names::ObjectName::new("shop", "strict"),
        created: None,
        selector: None,
        mode: Some(MtlsMode::Strict),
        ports: Default::default(),
    };
    let told = World::new().with(out).with(strict);
    let told = told.ask("shop/out", "web", "GET", &[]);
    let why = left_alone(&told);
    assert!(
        why.contains("shop/web-1, shop/web-2 refuse (STRICT)"),
        "{why}"
    );

    for (change, said) in [
        (
            Pod {
                host_network: true,
                ..pod("shop/odd", "10.0.9.2")
            },
            "host's network",
        ),
        (
            Pod {
                foreign_sidecar: true,
                ..pod("shop/odd", "10.0.9.2")
            },
            "sidecar",
        ),
        (
            Pod {
                finished: true,
                ..pod("shop/odd", "10.0.9.2")
            },
            "has ended",
        ),
        (pod("wild/odd", "10.0.9.2"), "set the label weir.dev/mesh"),
    ] {
        let from = change.name.to_string();
        let told = World::new().with(change);
        let told = told.ask(&from, "web.shop", "GET", &[]);
        assert!(left_alone(&told).contains(said), "{told}");
    }
    // As a destination.
    let told = World::new().with(pod("wild/odd", "10.0.9.2"));
    let told = told.get("http://10.0.9.2/");
    assert!(left_alone(&told).contains("wild/odd is not enrolled"));
}

#[test]
fn a_pod_that_is_not_known_is_taken_for_an_enrolled_one() {
    let told = World::new().ask("shop/nobody", "http://web/", "GET", &[]);
    assert_eq!(sent_to(&told), "shop/web:80");
    assert_eq!(told.client.enrolled, None);
    let note = told.client.note.clone().unwrap();
    assert!(note.contains("not known here"), "{note}");
    let told = World::new().ask("shop", "http://web/", "GET", &[]);
    assert_eq!(
        (sent_to(&told), told.client.pod.as_deref()),
        ("shop/web:80", None)
    );
}

#[test]
fn what_the_client_skips_is_left_alone() {
    let skipping = |ports: &[u16], cidr: Option<&str>| {
        let mut client = on("n1", pod("shop/cart-1", "10.0.0.1"));
        client.skip.outbound_ports = ports.to_vec();
        client.skip.outbound_cidrs = cidr.iter().map(|net| net.parse().unwrap()).collect();
        World::new().with(client).get("http://web/")
    };
    assert!(left_alone(&skipping(&[80], None)).contains("skips outbound port 80"));
    assert!(left_alone(&skipping(&[], Some("10.96.0.0/16"))).contains("10.96.0.0/16"));
    assert_eq!(
        sent_to(&skipping(&[81], Some("10.97.0.0/16"))),
        "shop/web:80"
    );
}

#[test]
fn an_address_of_another_family_is_left_alone() {
    let told = World::new()
        .with(service("shop/six", "fd00::1"))
        .get("http://[fd00::1]/");
    assert!(left_alone(&told).contains("family"), "{told}");
}

#[test]
fn what_is_said_of_the_protocol_counts() {
    let speaking = |name: &str, app_protocol: Option<&str>, url: &str| {
        let port = ServicePort {
            name: name.into(),
            port: 80,
            app_protocol: app_protocol.map(Into::into),
        };
        let service = Service {
            ports: vec![port],
            ..service("shop/lone", "10.96.0.50")
        };
        World::new().with(service).get(url)
    };
    let told = speaking("tcp-x", None, "http://lone/");
    assert_eq!(reset(&told).0, "no_healthy_endpoint");
    let spoken = told.spoken.as_deref().unwrap();
    assert!(
        spoken.contains("the port's name tcp-x says opaque bytes"),
        "{spoken}"
    );
    let told = speaking("x", Some("grpc"), "http://lone/");
    assert_eq!(refused(&told).1, "no_healthy_endpoint");
    assert!(
        told.spoken
            .as_deref()
            .unwrap()
            .contains("appProtocol grpc says gRPC")
    );
    let told = speaking("http", None, "tcp://lone:80");
    assert_eq!(refused(&told).1, "bad_request");
    let told = speaking("", None, "tcp://lone:80");
    assert_eq!(reset(&told).0, "no_healthy_endpoint");
}

#[test]
fn a_port_that_the_service_does_not_list_resets() {
    let told = World::new().get("http://web:81/");
    let (reason, why) = reset(&told);
    assert_eq!(
        (reason, why),
        ("no_such_port", "service shop/web has no port 81")
    );
    let told = World::new().get("http://empty/");
    assert_eq!(
        refused(&told),
        (
            503,
            "no_healthy_endpoint",
            "service shop/empty has no endpoint"
        )
    );
}
