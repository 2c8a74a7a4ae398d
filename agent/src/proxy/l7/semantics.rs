//! The semantics that a proxy keeps (RFC 9110, 9112, 9113): what is no valid request, and what
//! goes from one hop to the next.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, PathAndQuery},
};

use super::answer::Refusal;
use crate::{
    telemetry::Reason,
    traffic::hop::{self, names_in},
    transport::limits::{HEADER_BYTES_MAX, HEADERS_MAX, URI_BYTES_MAX},
};

pub(super) use hop::strip as strip_hop_by_hop;

/// What the client wants the connection to become, with a 101 or a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Become {
    /// `Upgrade`, as the client wrote it.
    Upgrade(HeaderValue),
    Tunnel,
}

/// A request that may go on: the authority it is for, and what it wants to become.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) authority: Option<Authority>,
    pub(super) becomes: Option<Become>,
}

/// Refuses what is not valid and takes away what was meant for this hop alone. hyper has refused
/// what breaks the framing already.
pub(super) fn check(parts: &mut Parts) -> Result<Checked, Refusal> {
    size(&parts.headers)?;
    let authority = authority(parts)?;
    target(parts)?;
    framing(&parts.headers)?;
    let becomes = becomes(parts)?;
    strip_hop_by_hop(&mut parts.headers);
    Ok(Checked { authority, becomes })
}

/// HTTP/1.1 is held to this while it is read; HTTP/2 reads some more, to be able to say why.
fn size(headers: &HeaderMap) -> Result<(), Refusal> {
    let of = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let too_large =
        headers.len() > HEADERS_MAX || headers.iter().map(of).sum::<usize>() > HEADER_BYTES_MAX;
    if !too_large {
        return Ok(());
    }
    let detail = format!("more than {HEADERS_MAX} fields or {HEADER_BYTES_MAX} bytes");
    Err(Refusal::new(Reason::HeadersTooLarge, detail))
}

fn bad(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BadRequest, detail)
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1: one host, whichever way it is said.
fn authority(parts: &mut Parts) -> Result<Option<Authority>, Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("more than one Host"));
    }
    let host = match host {
        // An empty one is what a client sends whose target has no authority.
        Some(host) if host.is_empty() => None,
        Some(host) => Some(
            Authority::try_from(host.as_bytes())
                .ok()
                .filter(|authority| !authority.as_str().contains('@'))
                .ok_or_else(|| bad("Host is no host"))?,
        ),
        None if parts.version == Version::HTTP_11 && parts.method != Method::CONNECT => {
            return Err(bad("no Host"));
        }
        None => None,
    };
    let of_target = parts.uri.authority().cloned();
    if of_target.as_ref().is_some_and(|a| a.as_str().contains('@')) {
        return Err(bad("user information in the target"));
    }
    match (of_target, host) {
        (Some(target), Some(host))
            if parts.version == Version::HTTP_2 && !same_host(&target, &host) =>
        {
            Err(bad("Host is not :authority"))
        }
        // Absolute form: Host does not count (RFC 9112 §3.2.2).
        (Some(target), _) => Ok(Some(target)),
        (None, host) => Ok(host),
    }
}

fn same_host(one: &Authority, other: &Authority) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

fn target(parts: &Parts) -> Result<(), Refusal> {
    let path_and_query = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if path_and_query.len() > URI_BYTES_MAX {
        return Err(Refusal::new(
            Reason::UriTooLong,
            format!("the target has more than {URI_BYTES_MAX} bytes"),
        ));
    }
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let asterisk = path_and_query == "*" && parts.method == Method::OPTIONS;
    if !path_and_query.starts_with('/') && !asterisk {
        return Err(bad("the target is no path"));
    }
    Ok(())
}

/// RFC 9112 §6: hyper frames by the last coding and refuses differing lengths. What is left is
/// what another party could read differently.
fn framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(bad("both Content-Length and Transfer-Encoding"));
    }
    let chunked_alone =
        codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !chunked_alone {
        return Err(bad("a Transfer-Encoding other than chunked"));
    }
    Ok(())
}

fn becomes(parts: &Parts) -> Result<Option<Become>, Refusal> {
    if parts.method == Method::CONNECT {
        if parts.version == Version::HTTP_2 {
            return Err(bad("CONNECT over HTTP/2"));
        }
        return Ok(Some(Become::Tunnel));
    }
    if parts.version != Version::HTTP_11
        || !names_in(&parts.headers, CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"))
    {
        return Ok(None);
    }
    let Some(upgrade) = parts.headers.get(UPGRADE) else {
        return Ok(None);
    };
    // Not by upgrade any more (RFC 9113 §3.1): the request goes on without it.
    let is_http2 = |name: &str| {
        name.trim().eq_ignore_ascii_case("h2c") || name.trim().eq_ignore_ascii_case("h2")
    };
    let only_http2 = names_in(&parts.headers, UPGRADE).all(is_http2);
    Ok((!only_http2).then(|| Become::Upgrade(upgrade.clone())))
}

/// [`strip_hop_by_hop`] of an answer. A `Content-Length` beside a coding is a lie (RFC 9112 §6.3).
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
}

#[cfg(test)]
mod tests;
