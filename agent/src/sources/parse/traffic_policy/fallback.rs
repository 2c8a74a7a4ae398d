//! `fallback`.

use http::Method;
use serde::Deserialize;

use super::{
    retries,
    values::{Quantity, SHORTEST, WEEK},
};
use crate::{
    model::traffic_policy::{FALLBACK_BYTES, FALLBACK_NODE_BYTES_MAX, Fallback},
    sources::parse::{path::Path, route::Reader},
};

const METHODS: &str = "GET, HEAD";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    /// How long after it has gone stale an answer is better than none: 1ms to 168h. Required.
    stale_if_error: Option<&'a str>,
    /// Of one pod's answers together: 1 to 64Mi. Default 1Mi.
    #[serde(borrow)]
    max_bytes: Option<Quantity<'a>>,
    /// GET, HEAD or both. Default GET.
    #[serde(borrow)]
    methods: Option<Vec<&'a str>>,
}

/// `None` only with an error.
pub(super) fn parse(reader: &mut Reader<'_>, spec: Spec<'_>, at: Path<'_>) -> Option<Fallback> {
    let at_stale = at.key("staleIfError");
    let stale_if_error = reader.within(spec.stale_if_error, SHORTEST..=WEEK, at_stale);
    let stale_if_error = reader.required((spec.stale_if_error, stale_if_error), at_stale);
    let at_bytes = at.key("maxBytes");
    let max_bytes = reader.size(spec.max_bytes, 1..=FALLBACK_NODE_BYTES_MAX, at_bytes);
    let methods = spec
        .methods
        .map(|words| retries::methods(reader, words, METHODS, at.key("methods")));
    Some(Fallback {
        stale_if_error: stale_if_error?,
        max_bytes: max_bytes.unwrap_or(FALLBACK_BYTES),
        methods: methods.unwrap_or_else(|| vec![Method::GET]),
    })
}
