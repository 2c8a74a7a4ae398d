//! What the decisions see of a request.

use http::{HeaderMap, Method, header};

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Normalized, see [`super::normalize::path`].
    pub path: &'a str,
    /// As the client sent it, without the question mark.
    pub query: Option<&'a str>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// See [`is_grpc`].
    pub grpc: bool,
}

/// Whether the content type is gRPC's own: `application/grpc`, `application/grpc+proto`
/// (PROTOCOL-HTTP2 of gRPC). gRPC-Web is plain HTTP to a proxy.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .split_at_checked(GRPC.len())
            .is_some_and(|(media, rest)| {
                media.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
            })
    })
}

#[cfg(test)]
mod tests;
