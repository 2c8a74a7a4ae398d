use super::*;

#[test]
fn reads_addresses_and_service_names() {
    for (text, wanted) in [
        (
            "10.0.0.1:80",
            Some(Authority::Address("10.0.0.1:80".parse().unwrap())),
        ),
        (
            "[fd00::1]:80",
            Some(Authority::Address("[fd00::1]:80".parse().unwrap())),
        ),
        (
            "Web.shop.svc.cluster.local:80",
            Some(Authority::Service {
                host: "web.shop.svc.cluster.local".into(),
                port: 80,
            }),
        ),
        ("10.0.0.1", None),
        ("web", None),
        (":80", None),
        ("web:", None),
        ("web:65536", None),
        ("user@web:80", None),
        ("[fd00::1:80", None),
        ("a b:80", None),
        ("", None),
    ] {
        assert_eq!(Authority::read(text), wanted, "{text}");
    }
}
