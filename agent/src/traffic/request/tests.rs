use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::is_grpc;

#[test]
fn grpc_is_told_by_its_content_type() {
    let of = |value: &'static str| {
        is_grpc(&HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static(value),
        )]))
    };
    for value in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "Application/GRPC",
    ] {
        assert!(of(value), "{value}");
    }
    for value in [
        "",
        "application/json",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpcx",
        "text/application/grpc",
    ] {
        assert!(!of(value), "{value}");
    }
    assert!(!is_grpc(&HeaderMap::new()));
}
