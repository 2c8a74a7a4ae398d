//! Which match of which rule a request meets (`HTTPRouteRule.matches`, `GRPCRouteRule.matches`,
//! `TLSRouteSpec.hostnames`). Tables are sorted by precedence, so that the first one decides.

use std::{borrow::Cow, fmt, str, sync::Arc};

use http::{HeaderMap, HeaderName, Method, header};
use thiserror::Error;

use super::{form::decode, request::RequestView};
use crate::model::{
    names::ObjectName,
    route::{PathMatch, RequestMatch, ResolvedRule, RouteEntry, RouteTable, TextMatch},
    snapshot::Snapshot,
};

/// What decides on HTTP requests of clients of `namespace` to that port of a service. `None`: it
/// has no HTTPRoute and no GRPCRoute for them, and its requests go to its own endpoints.
pub fn http_table<'s>(
    snapshot: &'s Snapshot,
    service: &ObjectName,
    port: u16,
    namespace: &str,
) -> Option<&'s Arc<RouteTable>> {
    let table = snapshot.routes(service)?.table(port, namespace)?;
    (!table.http.is_empty() || !table.grpc.is_empty()).then_some(table)
}

/// The entry that decides on `request`; `None` is answered with 404.
pub fn find<'t>(table: &'t RouteTable, request: &RequestView<'_>) -> Option<&'t RouteEntry> {
    let grpc = if request.grpc { &table.grpc[..] } else { &[] };
    grpc.iter()
        .chain(&table.http)
        .find(|entry| matches(entry.request_match(), request).is_ok())
}

/// Whether `request` meets all that the match says; no match at all is met by everything.
///
/// # Errors
/// The first condition that it does not meet, for people; it borrows and formats nothing.
pub fn matches<'a>(
    wanted: Option<&'a RequestMatch>,
    request: &RequestView<'a>,
) -> Result<(), Mismatch<'a>> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    if let Some(path) = &wanted.path
        && !path_matches(path, request.path)
    {
        return Err(Mismatch::Path {
            path: request.path,
            wanted: path,
        });
    }
    if let Some(method) = &wanted.method
        && method != request.method
    {
        return Err(Mismatch::Method {
            method: request.method,
            wanted: method,
        });
    }
    for (name, value) in &wanted.headers {
        if !header_matches(value, name, request.headers) {
            return Err(Mismatch::Header {
                name,
                wanted: value,
                headers: request.headers,
            });
        }
    }
    for (name, value) in &wanted.query {
        if !query_matches(value, name, request.query) {
            return Err(Mismatch::Query {
                name,
                wanted: value,
                query: request.query,
            });
        }
    }
    Ok(())
}

/// Why a request does not meet a match. [`fmt::Display`] says it in a sentence.
#[derive(Clone, Copy, Debug)]
pub enum Mismatch<'a> {
    Path {
        path: &'a str,
        wanted: &'a PathMatch,
    },
    Method {
        method: &'a Method,
        wanted: &'a Method,
    },
    Header {
        name: &'a HeaderName,
        wanted: &'a TextMatch,
        headers: &'a HeaderMap,
    },
    Query {
        name: &'a str,
        wanted: &'a TextMatch,
        query: Option<&'a str>,
    },
}

fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) => is_below(path, prefix),
        PathMatch::Regex(pattern) => pattern.is_match(path),
        PathMatch::Grpc { service, method } => {
            let (of_path, name) = grpc_names(path).unwrap_or_default();
            let met = |wanted: &Option<TextMatch>, text| {
                wanted
                    .as_ref()
                    .is_none_or(|wanted| text_matches(wanted, text))
            };
            met(service, of_path) && met(method, name)
        }
    }
}

/// Whether `prefix` is the first segments of `path`.
fn is_below(path: &str, prefix: &str) -> bool {
    strip_segments(path, prefix).is_some()
}

/// What comes after the segments of `prefix`: nothing, or a slash and more. All of the path is
/// below `/`. A slash at the prefix's end does not count (`PathMatchPathPrefix`).
pub(super) fn strip_segments<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix))?;
    (rest.is_empty() || rest.starts_with('/') || prefix == "/").then_some(rest)
}

/// Service and method of `/package.Service/Method`.
fn grpc_names(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

fn text_matches(wanted: &TextMatch, text: &str) -> bool {
    match wanted {
        TextMatch::Exact(exact) => **exact == *text,
        TextMatch::Regex(pattern) => pattern.is_match(text),
    }
}

pub(super) fn header_matches(wanted: &TextMatch, name: &HeaderName, headers: &HeaderMap) -> bool {
    header_value(name, headers).is_some_and(|value| match wanted {
        TextMatch::Exact(exact) => *exact.as_bytes() == *value,
        TextMatch::Regex(pattern) => {
            str::from_utf8(&value).is_ok_and(|value| pattern.is_match(value))
        }
    })
}

/// Lines of one name are one list (RFC 9110 §5.3); those of cookies, which HTTP/2 clients send one
/// by one, are joined as RFC 9113 §8.2.3 says. A single line, the usual case, is borrowed.
fn header_value<'h>(name: &HeaderName, headers: &'h HeaderMap) -> Option<Cow<'h, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let mut value = Cow::Borrowed(lines.next()?.as_bytes());
    for line in lines {
        let between: &[u8] = match *name == header::COOKIE {
            true => b"; ",
            false => b",",
        };
        let joined = value.to_mut();
        joined.extend_from_slice(between);
        joined.extend_from_slice(line.as_bytes());
    }
    Some(value)
}

fn query_matches(wanted: &TextMatch, name: &str, query: Option<&str>) -> bool {
    query_value(name, query).is_some_and(|value| match wanted {
        TextMatch::Exact(exact) => decode(value).eq(exact.bytes()),
        TextMatch::Regex(pattern) => {
            String::from_utf8(decode(value).collect()).is_ok_and(|value| pattern.is_match(&value))
        }
    })
}

/// The first value of that name, as it was sent.
fn query_value<'q>(name: &str, query: Option<&'q str>) -> Option<&'q str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        decode(key).eq(name.bytes()).then_some(value)
    })
}

/// No TLSRoute of a table that has some names the connection's host.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no TLSRoute is for {}", .sni.as_deref().unwrap_or("no name"))]
pub struct NoTlsRoute {
    sni: Option<Box<str>>,
}

/// The rule for a connection that is not HTTP; `tls`: it begins with a ClientHello, which names a
/// host or none. `None`: it goes to the service's own endpoints.
///
/// # Errors
/// When it goes nowhere.
pub fn rule_of_connection<'t>(
    table: &'t RouteTable,
    tls: Option<Option<&str>>,
) -> Result<Option<&'t Arc<ResolvedRule>>, NoTlsRoute> {
    match tls {
        Some(sni) if !table.tls.is_empty() => {
            let entry = find_tls(table, sni).ok_or_else(|| NoTlsRoute {
                sni: sni.map(Into::into),
            })?;
            Ok(Some(&entry.rule))
        }
        _ => Ok(table.tcp.as_ref()),
    }
}

/// The entry for a TLS connection whose ClientHello names `sni`. A route without host names takes
/// every connection; one with them none that names nothing.
pub fn find_tls<'t>(table: &'t RouteTable, sni: Option<&str>) -> Option<&'t RouteEntry> {
    table.tls.iter().find(|entry| names_host(entry, sni))
}

/// Whether the host name of a TLSRoute's entry is `sni`.
pub(super) fn names_host(entry: &RouteEntry, sni: Option<&str>) -> bool {
    match entry.matched {
        None => true,
        Some(index) => entry
            .rule
            .route
            .hostnames
            .get(index)
            .zip(sni)
            .is_some_and(|(hostname, sni)| hostname_matches(hostname, sni)),
    }
}

/// A name, without regard to case, or `*.` before a suffix: one or more labels.
fn hostname_matches(hostname: &str, sni: &str) -> bool {
    match hostname.strip_prefix('*') {
        Some(suffix) => {
            let cut = sni.len().saturating_sub(suffix.len());
            cut > 0
                && sni
                    .as_bytes()
                    .get(cut..)
                    .is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
        }
        None => hostname.eq_ignore_ascii_case(sni),
    }
}

/// What `replacePrefixMatch` replaces. A match without a path is one of the prefix `/`, the
/// default; exact paths and regular expressions have no prefix.
pub fn matched_prefix(entry: &RouteEntry) -> Option<&str> {
    match entry
        .request_match()
        .and_then(|wanted| wanted.path.as_ref())
    {
        Some(PathMatch::Prefix(prefix)) => Some(prefix),
        None => Some("/"),
        Some(PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Grpc { .. }) => None,
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Path { path, wanted } => match wanted {
                PathMatch::Exact(exact) => write!(f, "path {path} is not {exact}"),
                PathMatch::Prefix(prefix) => write!(f, "path {path} is not below {prefix}"),
                PathMatch::Regex(pattern) => {
                    write!(f, "path {path} does not match {}", pattern.as_str())
                }
                PathMatch::Grpc { service, method } => {
                    write!(f, "path {path} is not ")?;
                    grpc_part(f, service.as_ref())?;
                    grpc_part(f, method.as_ref())
                }
            },
            Self::Method { method, wanted } => write!(f, "method is {method}, not {wanted}"),
            Self::Header {
                name,
                wanted,
                headers,
            } => {
                let value = header_value(name, headers);
                differs(f, "header", name.as_str(), value.as_deref(), wanted)
            }
            Self::Query {
                name,
                wanted,
                query,
            } => {
                let value = query_value(name, query).map(|value| decode(value).collect::<Vec<_>>());
                differs(f, "query parameter", name, value.as_deref(), wanted)
            }
        }
    }
}

/// `/name`, with a star for one that does not matter.
fn grpc_part(f: &mut fmt::Formatter<'_>, wanted: Option<&TextMatch>) -> fmt::Result {
    match wanted {
        Some(TextMatch::Exact(exact)) => write!(f, "/{exact}"),
        Some(TextMatch::Regex(pattern)) => write!(f, "/({})", pattern.as_str()),
        None => f.write_str("/*"),
    }
}

fn differs(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    name: &str,
    value: Option<&[u8]>,
    wanted: &TextMatch,
) -> fmt::Result {
    let Some(value) = value.map(String::from_utf8_lossy) else {
        return write!(f, "{what} {name} is absent");
    };
    match wanted {
        TextMatch::Exact(exact) => write!(f, "{what} {name} is {value:?}, not {exact:?}"),
        TextMatch::Regex(pattern) => {
            write!(
                f,
                "{what} {name} is {value:?}, which does not match {}",
                pattern.as_str()
            )
        }
    }
}

#[cfg(test)]
mod tests;
