//! `RequestHeaderModifier` and `ResponseHeaderModifier`.

use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;

use super::{field::FieldReason, path::Path, route::Reader};
use crate::model::route::HeaderModifier;

const HEADERS_MAX: usize = 16;
const HEADER_VALUE_BYTES_MAX: usize = 4096;

/// What frames a message or is for one hop (RFC 9110 §7.6.1, RFC 9112 §6): changed by a route it
/// would make the message another one.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderSpec<'a> {
    #[serde(borrow)]
    set: Option<Vec<Header<'a>>>,
    #[serde(borrow)]
    add: Option<Vec<Header<'a>>>,
    #[serde(borrow)]
    remove: Option<Vec<&'a str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

impl Reader<'_> {
    /// One header is in one of the lists, once.
    pub(super) fn header_modifier(&mut self, spec: HeaderSpec<'_>, at: Path<'_>) -> HeaderModifier {
        let mut seen = Vec::new();
        HeaderModifier {
            set: self.headers(spec.set, &mut seen, at.key("set")),
            add: self.headers(spec.add, &mut seen, at.key("add")),
            remove: self.removals(spec.remove, &mut seen, at.key("remove")),
        }
    }

    fn headers(
        &mut self,
        headers: Option<Vec<Header<'_>>>,
        seen: &mut Vec<HeaderName>,
        at: Path<'_>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let headers = self.items(headers, HEADERS_MAX, at);
        let mut read = Vec::with_capacity(headers.len());
        for (index, header) in headers.into_iter().enumerate() {
            let at = at.index(index);
            let name = self.new_header(header.name, seen, at.key("name"));
            self.text(header.value, HEADER_VALUE_BYTES_MAX, at.key("value"));
            let value = HeaderValue::from_str(header.value).ok();
            if value.is_none() {
                let value = header.value.to_owned();
                self.push(at.key("value"), FieldReason::HeaderValue { value });
            }
            read.extend(name.zip(value));
        }
        read
    }

    fn removals(
        &mut self,
        names: Option<Vec<&str>>,
        seen: &mut Vec<HeaderName>,
        at: Path<'_>,
    ) -> Vec<HeaderName> {
        let names = self.items(names, HEADERS_MAX, at);
        let mut read = Vec::with_capacity(names.len());
        for (index, name) in names.into_iter().enumerate() {
            read.extend(self.new_header(name, seen, at.index(index)));
        }
        read
    }

    fn new_header(
        &mut self,
        name: &str,
        seen: &mut Vec<HeaderName>,
        at: Path<'_>,
    ) -> Option<HeaderName> {
        let parsed = self.header_name(name, at)?;
        if OF_THE_CONNECTION.contains(&parsed) {
            let value = name.to_owned();
            self.push(at, FieldReason::ConnectionHeader { value });
            return None;
        }
        if seen.contains(&parsed) {
            self.twice(name, at);
        }
        seen.push(parsed.clone());
        Some(parsed)
    }
}
