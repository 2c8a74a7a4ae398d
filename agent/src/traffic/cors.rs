//! The `CORS` filter (Gateway API, `HTTPCORSFilter`, GEP-1767; the Fetch standard §3.2).
//!
//! Weir answers preflights itself; whether the request that follows is made is the browser's
//! decision, so a request of another origin still reaches the app.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN, SET_COOKIE, VARY,
    },
};

use super::request::RequestView;
use crate::model::route::{Cors, Origin};

/// Seconds for which a browser may keep the answer to a preflight, where the filter does not say.
const MAX_AGE_DEFAULT: u32 = 5;

const STAR: HeaderValue = HeaderValue::from_static("*");

/// The headers of the answer, whose status is 200, if the request is a preflight: OPTIONS with an
/// origin and the method that it asks about. Without any that allow, where the origin is not one
/// of the filter's.
pub fn preflight(cors: &Cors, request: &RequestView<'_>) -> Option<HeaderMap> {
    if request.method != Method::OPTIONS {
        return None;
    }
    let origin = request.headers.get(ORIGIN)?;
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let mut headers = HeaderMap::new();
    if !allow_origin(cors, Some(origin), &mut headers) {
        return Some(headers);
    }
    let asked = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
    for (name, allowed, asked) in [
        (
            ACCESS_CONTROL_ALLOW_METHODS,
            &cors.allow_methods,
            Some(method),
        ),
        (ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers, asked),
    ] {
        // With credentials a star would be a name like any other (Fetch §3.2.5).
        let value = match has_star(allowed) && cors.allow_credentials {
            true => asked.cloned(),
            false => list(allowed),
        };
        set(&mut headers, name, value);
    }
    let exposed = list(&cors.expose_headers)
        .filter(|_| !(has_star(&cors.expose_headers) && cors.allow_credentials));
    set(&mut headers, ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    let max_age = HeaderValue::from(cors.max_age.unwrap_or(MAX_AGE_DEFAULT));
    set(&mut headers, ACCESS_CONTROL_MAX_AGE, Some(max_age));
    Some(headers)
}

/// Gives the response to a request of `origin` what lets the browser hand it on. The filter has the
/// last word: what the app said of origin, credentials and exposed headers is replaced. The
/// response to a request without an origin stays, but for `vary`.
pub fn response(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if origin.is_some() {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    }
    if !allow_origin(cors, origin, headers) {
        return;
    }
    let exposed = match has_star(&cors.expose_headers) && cors.allow_credentials {
        true => names(headers),
        false => list(&cors.expose_headers),
    };
    set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// Whether `origin` is allowed, and the headers that say so.
fn allow_origin(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
    let any = cors.allow_origins.contains(&Origin::Any);
    let same_for_all = any && !cors.allow_credentials;
    if !same_for_all {
        // Also of a refusal: a cache must not hand that to another origin.
        vary_by_origin(headers);
    }
    let Some(origin) = origin.filter(|origin| {
        any || origin.to_str().is_ok_and(|origin| {
            cors.allow_origins
                .iter()
                .any(|allowed| origin_matches(allowed, origin))
        })
    }) else {
        return false;
    };
    let allowed = match same_for_all {
        true => STAR,
        false => origin.clone(),
    };
    set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, Some(allowed));
    let credentials = cors
        .allow_credentials
        .then(|| HeaderValue::from_static("true"));
    set(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials);
    true
}

fn origin_matches(allowed: &Origin, origin: &str) -> bool {
    match allowed {
        Origin::Any => true,
        Origin::Exact(exact) => exact.eq_ignore_ascii_case(origin),
        Origin::Wildcard { before, after } => {
            let end = origin.len().saturating_sub(after.len());
            let parts = origin
                .get(..before.len())
                .zip(origin.get(before.len()..end))
                .zip(origin.get(end..));
            parts.is_some_and(|((start, star), rest)| {
                start.eq_ignore_ascii_case(before)
                    && rest.eq_ignore_ascii_case(after)
                    && is_labels(star)
            })
        }
    }
}

/// One or more labels, so that the star spans neither a port nor another scheme.
fn is_labels(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

fn has_star(names: &[impl AsRef<str>]) -> bool {
    names.iter().any(|name| name.as_ref() == "*")
}

/// `None` of none. A star stands alone.
fn list(names: &[impl AsRef<str>]) -> Option<HeaderValue> {
    if has_star(names) {
        return Some(STAR);
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok())?
}

/// What a star stands for where it may not be sent: every header there is, less those that no
/// script gets to see.
fn names(headers: &HeaderMap) -> Option<HeaderValue> {
    let names: Vec<&str> = headers
        .keys()
        .filter(|name| **name != SET_COOKIE && !name.as_str().starts_with("access-control-"))
        .map(HeaderName::as_str)
        .collect();
    list(&names)
}

fn vary_by_origin(headers: &mut HeaderMap) {
    let varies = headers
        .get_all(VARY)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"));
    if !varies {
        let _ = headers.try_append(VARY, HeaderValue::from_static("origin"));
    }
}

/// A map that is full stays as it is.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        let _ = headers.try_insert(name, value);
    }
}

#[cfg(test)]
mod tests;
