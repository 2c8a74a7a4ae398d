use super::*;

#[test]
fn reads_its_own_writing() {
    let id = SpiffeId::new("cluster.local", "shop", "web");
    let parsed: SpiffeId = id.as_str().parse().unwrap();
    assert_eq!(parsed, id);
    assert_eq!(
        (
            parsed.trust_domain(),
            parsed.namespace(),
            parsed.service_account()
        ),
        ("cluster.local", "shop", "web")
    );
}

#[test]
fn refuses_every_other_shape() {
    for text in [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/",
        "spiffe://td/ns//sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/ns/../sa/b",
        "spiffe://td/ns/a/sa/b%2fc",
        "spiffe://td/ns/a/sa/b?x",
        "spiffe://td/ns/a/sa/b#x",
        "spiffe://TD/ns/a/sa/b",
        "spiffe://u@td/ns/a/sa/b",
        "spiffe://td:1/ns/a/sa/b",
        "https://td/ns/a/sa/b",
        "spiffe://td/sa/b/ns/a",
    ] {
        assert_eq!(text.parse::<SpiffeId>(), Err(SpiffeError::Shape), "{text}");
    }
    let long = format!("spiffe://td/ns/{}/sa/b", "a".repeat(SPIFFE_ID_BYTES_MAX));
    assert_eq!(long.parse::<SpiffeId>(), Err(SpiffeError::TooLong));
}
