//! The `CORS` filter (GEP-1767).

use std::sync::Arc;

use serde::Deserialize;

use super::{field::FieldReason, path::Path, route::Reader};
use crate::model::route::{Cors, Origin};

const LIST_MAX: usize = 64;
const METHODS_MAX: usize = 9;
const ORIGIN_BYTES_MAX: usize = 253;
const MAX_AGE_MAX: u32 = i32::MAX as u32;
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH, *";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CorsSpec<'a> {
    #[serde(borrow)]
    allow_origins: Option<Vec<&'a str>>,
    allow_credentials: Option<bool>,
    #[serde(borrow)]
    allow_methods: Option<Vec<&'a str>>,
    #[serde(borrow)]
    allow_headers: Option<Vec<&'a str>>,
    #[serde(borrow)]
    expose_headers: Option<Vec<&'a str>>,
    max_age: Option<i64>,
}

impl Reader<'_> {
    pub(super) fn cors(&mut self, spec: CorsSpec<'_>, at: Path<'_>) -> Cors {
        Cors {
            allow_origins: self.origins(spec.allow_origins, at.key("allowOrigins")),
            allow_credentials: spec.allow_credentials.unwrap_or_default(),
            allow_methods: self.cors_methods(spec.allow_methods, at.key("allowMethods")),
            allow_headers: self.cors_headers(spec.allow_headers, true, at.key("allowHeaders")),
            expose_headers: self.cors_headers(spec.expose_headers, false, at.key("exposeHeaders")),
            max_age: spec
                .max_age
                .map(|seconds| self.whole(seconds, 1..=MAX_AGE_MAX, at.key("maxAge"))),
        }
    }

    fn origins(&mut self, origins: Option<Vec<&str>>, at: Path<'_>) -> Vec<Origin> {
        let origins = self.set(origins, LIST_MAX, true, at);
        let mut read = Vec::with_capacity(origins.len());
        for (index, origin) in origins.into_iter().enumerate() {
            match parse_origin(origin) {
                Some(origin) => read.push(origin),
                None => {
                    let value = origin.to_owned();
                    self.push(at.index(index), FieldReason::Origin { value });
                }
            }
        }
        read
    }

    fn cors_methods(&mut self, methods: Option<Vec<&str>>, at: Path<'_>) -> Vec<Arc<str>> {
        let methods = self.set(methods, METHODS_MAX, true, at);
        for (index, method) in methods.iter().enumerate() {
            if !METHODS.split(", ").any(|known| known == *method) {
                self.not_one_of(method, METHODS, at.index(index));
            }
        }
        methods
            .iter()
            .map(|method| self.strings.get(method))
            .collect()
    }

    fn cors_headers(
        &mut self,
        names: Option<Vec<&str>>,
        star_alone: bool,
        at: Path<'_>,
    ) -> Vec<Arc<str>> {
        let names = self.set(names, LIST_MAX, star_alone, at);
        for (index, name) in names.iter().enumerate() {
            self.header_name(name, at.index(index));
        }
        names.iter().map(|name| self.strings.get(name)).collect()
    }

    /// A list without repetition; `*` says everything, so nothing can stand beside it.
    fn set<'a>(
        &mut self,
        items: Option<Vec<&'a str>>,
        max: usize,
        star_alone: bool,
        at: Path<'_>,
    ) -> Vec<&'a str> {
        let items = self.items(items, max, at);
        for (index, item) in items.iter().enumerate() {
            if items.iter().take(index).any(|other| other == item) {
                self.twice(*item, at.index(index));
            }
        }
        if star_alone && items.len() > 1 && items.contains(&"*") {
            let with = "other items beside \"*\"".to_owned();
            self.push(at, FieldReason::NotTogether { with });
        }
        items
    }
}

/// `*`, or `scheme://host[:port]` whose host may begin with a `*`. In lower case and without the
/// scheme's own port, as browsers write an origin (RFC 6454, section 6.2).
fn parse_origin(text: &str) -> Option<Origin> {
    if text == "*" {
        return Some(Origin::Any);
    }
    if text.len() > ORIGIN_BYTES_MAX {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let own_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_number = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|port| !is_number(port) || !port.parse::<u16>().is_ok_and(|p| p != 0)) {
        return None;
    }
    let port = port.filter(|port| *port != own_port);
    let tail = port.map(|port| format!(":{port}")).unwrap_or_default();
    match host.strip_prefix('*') {
        None if is_host(host) => Some(Origin::Exact(format!("{scheme}://{host}{tail}").into())),
        Some(suffix) if suffix.is_empty() || suffix.strip_prefix('.').is_some_and(is_host) => {
            Some(Origin::Wildcard {
                before: format!("{scheme}://").into(),
                after: format!("{suffix}{tail}").into(),
            })
        }
        _ => None,
    }
}

fn is_host(host: &str) -> bool {
    host.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}
