//! Where a redirect leads (`HTTPRequestRedirectFilter`).

use super::rewrite::{self, split_query};
use crate::model::route::{Redirect, Scheme};

/// How the client came.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub scheme: Scheme,
    /// `Host` or `:authority` as the client sent it: a host, perhaps with a port.
    pub authority: &'a str,
    /// The port dialled; what the specification calls the listener's.
    pub port: u16,
}

/// The `Location`. `prefix` is the matched one, see [`super::matching::matched_prefix`].
///
/// The port is the redirect's; else, where it names a scheme, that scheme's; else the one that the
/// client dialled. What the scheme implies is left out. Without any host, as HTTP/1.0 permits, it
/// is a relative reference (RFC 9110 §10.2.2).
pub fn location(
    redirect: &Redirect,
    origin: &Origin<'_>,
    path_and_query: &str,
    prefix: Option<&str>,
) -> String {
    let target = match &redirect.path {
        Some(modifier) => rewrite::path_and_query(modifier, path_and_query, prefix),
        None => path_and_query.to_owned(),
    };
    // `*` and the empty path have no place in a URL.
    let (path, query) = split_query(&target);
    let path = if path.starts_with('/') { path } else { "/" };

    let host = match &redirect.hostname {
        Some(hostname) => hostname,
        None => host_of(origin.authority),
    };
    if host.is_empty() {
        // Two slashes at the beginning would name a host.
        return format!("/{}{query}", path.trim_start_matches('/'));
    }
    let scheme = redirect.scheme.unwrap_or(origin.scheme);
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(scheme)) => well_known_port(scheme),
        (None, None) => origin.port,
    };
    let scheme_name = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    if port == well_known_port(scheme) {
        format!("{scheme_name}://{host}{path}{query}")
    } else {
        format!("{scheme_name}://{host}:{port}{path}{query}")
    }
}

fn well_known_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

/// Without port and user information; an IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host_port)| host_port);
    match host_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => host_port,
    }
}

#[cfg(test)]
mod tests;
