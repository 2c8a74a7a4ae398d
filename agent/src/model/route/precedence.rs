//! Which of two matches is asked first.

use std::cmp::Reverse;

use super::{PathMatch, RequestMatch, TextMatch};

/// How specific the match of an HTTPRoute is; the larger is asked first (Gateway API,
/// `HTTPRouteRule.matches`). A regular expression comes between exact and prefix, the longer first,
/// which is left to implementations.
pub fn http_precedence(request: Option<&RequestMatch>) -> impl Ord + use<> {
    let path = match request.and_then(|request| request.path.as_ref()) {
        Some(PathMatch::Exact(path)) => (3, path.len()),
        Some(PathMatch::Regex(pattern)) => (2, pattern.as_str().len()),
        Some(PathMatch::Prefix(prefix)) => (1, prefix.len()),
        Some(PathMatch::Grpc { .. }) | None => (1, 1),
    };
    Reverse((
        path,
        request.is_some_and(|request| request.method.is_some()),
        request.map_or(0, |request| request.headers.len()),
        request.map_or(0, |request| request.query.len()),
    ))
}

/// The same of a GRPCRoute: characters of the service, of the method, then headers
/// (`GRPCRouteRule.matches`). Exact before regular expressions.
pub fn grpc_precedence(request: Option<&RequestMatch>) -> impl Ord + use<> {
    let rank = |text: Option<&TextMatch>| match text {
        Some(TextMatch::Exact(text)) => (2, text.len()),
        Some(TextMatch::Regex(pattern)) => (1, pattern.as_str().len()),
        None => (0, 0),
    };
    let (service, method) = match request.and_then(|request| request.path.as_ref()) {
        Some(PathMatch::Grpc { service, method }) => {
            (rank(service.as_ref()), rank(method.as_ref()))
        }
        _ => ((0, 0), (0, 0)),
    };
    Reverse((
        service,
        method,
        request.map_or(0, |request| request.headers.len()),
    ))
}

#[cfg(test)]
mod tests;
