use super::*;

#[test]
fn a_reply_is_head_and_body() {
    let reply = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(reply_bytes(reply), Some(reply.len()));
    // Known before the body is there.
    assert_eq!(reply_bytes(&reply[..reply.len() - 3]), Some(reply.len()));
    assert_eq!(reply_bytes(&reply[..20]), None);
    assert_eq!(reply_bytes(b"HTTP/1.1 200 OK\r\n\r\n"), None);
}
