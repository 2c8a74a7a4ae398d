use super::*;

#[test]
fn what_is_put_is_read() {
    let mut out = Vec::new();
    grpc(&mut out, 7);
    let (headers, rest) = next(&out).unwrap();
    assert_eq!((headers.kind, headers.stream), (Kind::Headers, 7));
    assert!(!headers.ends_stream());
    let (data, rest) = next(rest).unwrap();
    assert_eq!((data.kind, data.stream), (Kind::Data, 7));
    assert!(data.ends_stream() && rest.is_empty());
    // A frame that is not whole yet.
    assert!(
        next(&out[..out.len() - 1])
            .and_then(|(_, rest)| next(rest))
            .is_none()
    );
    assert!(next(&out[..8]).is_none());
}

#[test]
fn the_status_comes_first() {
    assert!(says_200(b"\x88\x5f\x01x"));
    // After the table's size: 0, and 4,096 (0x3f 0xe1 0x1f).
    assert!(says_200(b"\x20\x88"));
    assert!(says_200(b"\x20\x3f\xe1\x1f\x88"));
    // 204, 404, nothing.
    assert!(!says_200(b"\x89"));
    assert!(!says_200(b"\x8d"));
    assert!(!says_200(b"\x3f\xe1"));
    assert!(!says_200(b""));
}

/// Checked against an implementation that is not this one's.
#[cfg(feature = "peers")]
#[test]
fn a_server_understands_the_requests() {
    use bytes::Bytes;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (path, fields) = runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let mut bytes = preface();
        grpc(&mut bytes, 1);
        tokio::io::AsyncWriteExt::write_all(&mut ours, &bytes)
            .await
            .unwrap();
        let mut server: h2::server::Connection<_, Bytes> =
            h2::server::handshake(theirs).await.unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let field = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        (
            request.uri().to_string(),
            [field("content-type"), field("te")],
        )
    });
    assert_eq!(path, "http://bench/bench.Echo/Unary");
    assert_eq!(fields, ["application/grpc", "trailers"]);
}
