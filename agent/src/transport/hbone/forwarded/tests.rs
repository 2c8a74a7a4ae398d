use super::*;

fn read(text: &'static str) -> Forwarded {
    Forwarded::read(&HeaderValue::from_static(text))
}

#[test]
fn reads_its_own_writing() {
    for address in ["10.1.2.3:4567", "[fd00::1]:80"] {
        for host in [None, Some("web.shop.svc.cluster.local".into())] {
            let forwarded = Forwarded {
                client: Some(address.parse().unwrap()),
                host,
            };
            assert_eq!(Forwarded::read(&forwarded.write().unwrap()), forwarded);
        }
    }
}

#[test]
fn takes_the_first_of_several() {
    let forwarded = read("proto=http; For=\"10.0.0.1:80\";host=web, for=\"10.0.0.2:81\"");
    assert_eq!(forwarded.client, Some("10.0.0.1:80".parse().unwrap()));
    assert_eq!(forwarded.host.as_deref(), Some("web"));
}

#[test]
fn ignores_what_is_no_address() {
    for text in [
        "",
        "for",
        "for=",
        "for=unknown",
        "for=_hidden",
        "for=10.0.0.1",
        "by=10.0.0.1:80",
    ] {
        assert_eq!(read(text), Forwarded::default(), "{text}");
    }
    let not_text = HeaderValue::from_bytes(b"for=\xff").unwrap();
    assert_eq!(Forwarded::read(&not_text), Forwarded::default());
}
