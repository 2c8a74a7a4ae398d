//! `matches` of HTTPRoutes and GRPCRoutes.

use std::sync::Arc;

use http::{HeaderName, Method};
use serde::Deserialize;

use super::{field::FieldReason, path::Path, route::Reader};
use crate::model::route::{PathMatch, Pattern, RequestMatch, TextMatch};

pub(super) const MATCHES_MAX: usize = 64;
/// Of all rules of a route.
pub(super) const ROUTE_MATCHES_MAX: usize = 128;
const CONDITIONS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1024;
const HEADER_NAME_BYTES_MAX: usize = 256;
const HEADER_VALUE_BYTES_MAX: usize = 4096;
const QUERY_VALUE_BYTES_MAX: usize = 1024;
const GRPC_NAME_BYTES_MAX: usize = 1024;

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH";
const PATH_TYPES: &str = "Exact, PathPrefix, RegularExpression";
const TEXT_TYPES: &str = "Exact, RegularExpression";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct HttpMatch<'a> {
    #[serde(borrow)]
    path: Option<PathSpec<'a>>,
    #[serde(borrow)]
    headers: Option<Vec<Condition<'a>>>,
    #[serde(borrow)]
    query_params: Option<Vec<Condition<'a>>>,
    method: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathSpec<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    value: Option<&'a str>,
}

/// A header or a query parameter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    name: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrpcMatch<'a> {
    #[serde(borrow)]
    method: Option<GrpcMethod<'a>>,
    #[serde(borrow)]
    headers: Option<Vec<Condition<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrpcMethod<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    service: Option<&'a str>,
    method: Option<&'a str>,
}

impl Reader<'_> {
    pub(super) fn http_match(&mut self, shape: HttpMatch<'_>, at: Path<'_>) -> RequestMatch {
        RequestMatch {
            path: shape
                .path
                .and_then(|path| self.path_match(&path, at.key("path"))),
            method: shape
                .method
                .and_then(|method| self.method(method, at.key("method"))),
            headers: self.header_matches(shape.headers, at.key("headers")),
            query: self.query_matches(shape.query_params, at.key("queryParams")),
        }
    }

    pub(super) fn grpc_match(&mut self, shape: GrpcMatch<'_>, at: Path<'_>) -> RequestMatch {
        RequestMatch {
            path: shape
                .method
                .and_then(|method| self.grpc_method(&method, at.key("method"))),
            method: None,
            headers: self.header_matches(shape.headers, at.key("headers")),
            query: Vec::new(),
        }
    }

    fn path_match(&mut self, path: &PathSpec<'_>, at: Path<'_>) -> Option<PathMatch> {
        let value = path.value.unwrap_or("/");
        let at_value = at.key("value");
        if value.len() > PATH_BYTES_MAX {
            let bytes_max = PATH_BYTES_MAX;
            self.push(at_value, FieldReason::TooLong { bytes_max });
            return None;
        }
        match path.kind.unwrap_or("PathPrefix") {
            "RegularExpression" => self.pattern(value, at_value).map(PathMatch::Regex),
            kind @ ("Exact" | "PathPrefix") => {
                if !is_normal(value) {
                    let value = value.to_owned();
                    self.push(at_value, FieldReason::PathMatch { value });
                }
                Some(match kind {
                    "Exact" => PathMatch::Exact(self.strings.get(value)),
                    _ => PathMatch::Prefix(self.strings.get(match value.strip_suffix('/') {
                        None | Some("") => value,
                        Some(bare) => bare,
                    })),
                })
            }
            other => {
                self.not_one_of(other, PATH_TYPES, at.key("type"));
                None
            }
        }
    }

    fn method(&mut self, method: &str, at: Path<'_>) -> Option<Method> {
        let known = METHODS.split(", ").any(|known| known == method);
        let parsed = Method::from_bytes(method.as_bytes()).ok();
        if !known {
            self.not_one_of(method, METHODS, at);
        }
        parsed.filter(|_| known)
    }

    /// Of several conditions on one header the first counts.
    pub(super) fn header_matches(
        &mut self,
        shapes: Option<Vec<Condition<'_>>>,
        at: Path<'_>,
    ) -> Vec<(HeaderName, TextMatch)> {
        let mut headers: Vec<(HeaderName, TextMatch)> = Vec::new();
        for (index, shape) in self.items(shapes, CONDITIONS_MAX, at).iter().enumerate() {
            let at = at.index(index);
            let name = self.header_name(shape.name, at.key("name"));
            let value = self.condition(shape, HEADER_VALUE_BYTES_MAX, at);
            let (Some(name), Some(value)) = (name, value) else {
                continue;
            };
            if headers.iter().all(|(other, _)| *other != name) {
                headers.push((name, value));
            }
        }
        headers
    }

    /// The same of query parameters, whose names count letter by letter.
    fn query_matches(
        &mut self,
        shapes: Option<Vec<Condition<'_>>>,
        at: Path<'_>,
    ) -> Vec<(Arc<str>, TextMatch)> {
        let mut query: Vec<(Arc<str>, TextMatch)> = Vec::new();
        for (index, shape) in self.items(shapes, CONDITIONS_MAX, at).iter().enumerate() {
            let at = at.index(index);
            // The CRD gives parameters the alphabet of header names.
            let named = self.header_name(shape.name, at.key("name")).is_some();
            let value = self.condition(shape, QUERY_VALUE_BYTES_MAX, at);
            let known = query.iter().any(|(other, _)| **other == *shape.name);
            if let Some(value) = value.filter(|_| named && !known) {
                query.push((self.strings.get(shape.name), value));
            }
        }
        query
    }

    fn condition(
        &mut self,
        shape: &Condition<'_>,
        bytes_max: usize,
        at: Path<'_>,
    ) -> Option<TextMatch> {
        self.text(shape.value, bytes_max, at.key("value"));
        self.text_match(shape.kind, shape.value, (at.key("type"), at.key("value")))
    }

    fn text_match(
        &mut self,
        kind: Option<&str>,
        value: &str,
        (at_kind, at_value): (Path<'_>, Path<'_>),
    ) -> Option<TextMatch> {
        match kind.unwrap_or("Exact") {
            "Exact" => Some(TextMatch::Exact(self.strings.get(value))),
            "RegularExpression" => self.pattern(value, at_value).map(TextMatch::Regex),
            other => {
                self.not_one_of(other, TEXT_TYPES, at_kind);
                None
            }
        }
    }

    fn pattern(&mut self, source: &str, at: Path<'_>) -> Option<Pattern> {
        match Pattern::new(source) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let value = source.to_owned();
                self.push(at, FieldReason::Pattern { value, error });
                None
            }
        }
    }

    /// RFC 9110, section 5.1.
    pub(super) fn header_name(&mut self, name: &str, at: Path<'_>) -> Option<HeaderName> {
        if name.len() > HEADER_NAME_BYTES_MAX {
            let bytes_max = HEADER_NAME_BYTES_MAX;
            self.push(at, FieldReason::TooLong { bytes_max });
            return None;
        }
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        if parsed.is_none() {
            let value = name.to_owned();
            self.push(at, FieldReason::HeaderName { value });
        }
        parsed
    }

    fn grpc_method(&mut self, shape: &GrpcMethod<'_>, at: Path<'_>) -> Option<PathMatch> {
        if shape.service.is_none() && shape.method.is_none() {
            self.push(at, FieldReason::NeedsServiceOrMethod);
        }
        let is_exact = shape.kind.is_none_or(|kind| kind == "Exact");
        let mut read = |name: Option<&str>, at_name: Path<'_>, is_name: fn(&str) -> bool| {
            let name = name?;
            self.text(name, GRPC_NAME_BYTES_MAX, at_name);
            if is_exact && !name.is_empty() && !is_name(name) {
                let value = name.to_owned();
                self.push(at_name, FieldReason::GrpcName { value });
            }
            // protobuf's way to say that a name is whole; the wire does not have the dot.
            let bare = name.strip_prefix('.').filter(|_| is_exact);
            let name = bare.unwrap_or(name);
            self.text_match(shape.kind, name, (at.key("type"), at_name))
        };
        Some(PathMatch::Grpc {
            service: read(shape.service, at.key("service"), is_grpc_service),
            method: read(shape.method, at.key("method"), is_grpc_name),
        })
    }
}

/// A path that no request can be normalised away from: absolute, without empty and dot segments,
/// hidden slashes and what RFC 3986 does not let stand in a path.
fn is_normal(path: &str) -> bool {
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    let Some(mut segments) = segments else {
        return false;
    };
    let inner = !path.contains("//") && segments.all(|segment| segment != "." && segment != "..");
    inner && is_path_text(path) && !path.to_ascii_lowercase().contains("%2f")
}

/// RFC 3986, section 3.3: path characters, and percent with two digits.
pub(super) fn is_path_text(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

pub(super) fn is_grpc_service(name: &str) -> bool {
    name.strip_prefix('.')
        .unwrap_or(name)
        .split('.')
        .all(is_grpc_name)
}

/// An identifier of protobuf.
fn is_grpc_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
