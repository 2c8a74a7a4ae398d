//! `RequestHeaderModifier` and `ResponseHeaderModifier` (Gateway API, `HTTPHeaderFilter`).

use http::HeaderMap;

use crate::model::route::HeaderModifier;

/// Removes, then sets (replacing every line of that name), then adds a line. The Gateway API leaves
/// the order open; in this one, Envoy's, nothing that the route's author adds is lost again.
///
/// Hop-by-hop names and `host` are the caller's affair. A map that is full, which is far beyond any
/// limit on the size of a head, stays as it is.
pub fn headers(modifier: &HeaderModifier, headers: &mut HeaderMap) {
    for name in &modifier.remove {
        headers.remove(name);
    }
    for (name, value) in &modifier.set {
        let _ = headers.try_insert(name, value.clone());
    }
    for (name, value) in &modifier.add {
        let _ = headers.try_append(name, value.clone());
    }
}

#[cfg(test)]
mod tests;
