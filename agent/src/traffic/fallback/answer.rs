//! What is written on a stale answer.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AGE, PROXY_AUTHENTICATE, SET_COOKIE, TRAILER},
};

use crate::traffic::hop;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// Who served the answer, that it was stored, and that it was asked for anew and in vain (RFC 9211).
const STALE: HeaderValue = HeaderValue::from_static("weir; hit; fwd=stale");

/// What of an answer's headers is kept: not what was for one hop (RFC 9111 §3.1), and no cookie,
/// which would take a client's session back to what it was. Values are copied: hyper's are parts of
/// the buffer that was read.
pub(super) fn kept(mut headers: HeaderMap) -> HeaderMap {
    hop::strip(&mut headers);
    for name in [
        SET_COOKIE,
        TRAILER,
        PROXY_AUTHENTICATE,
        PROXY_AUTHENTICATION_INFO,
    ] {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
    headers
}

/// The headers of a stored answer as it is served at that age.
///
/// `cache-status` is appended to what caches behind the service have said (RFC 9211 §2).
pub fn headers(stored: &HeaderMap, age: Duration) -> HeaderMap {
    let mut headers = stored.clone();
    headers.insert(AGE, age.as_secs().into());
    headers.append(CACHE_STATUS, STALE);
    headers
}

#[cfg(test)]
mod tests;
