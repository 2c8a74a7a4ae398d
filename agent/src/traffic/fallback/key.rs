//! For which requests an answer is kept.

use http::{HeaderMap, HeaderName, Method};

use crate::model::{names::ObjectName, spiffe::SpiffeId};

/// What an answer answers, less the headers that its `Vary` names. The caller's identity is part of
/// it: what a service tells one caller is not for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// `None`: all callers that have none.
    pub source: Option<SpiffeId>,
    pub service: ObjectName,
    /// Of the service.
    pub port: u16,
    /// GET or HEAD.
    pub method: Method,
    /// Lower case.
    pub authority: Box<str>,
    /// With the query.
    pub path: Box<str>,
}

impl Key {
    /// Of the text that only this key holds.
    pub(super) fn bytes(&self) -> usize {
        self.authority.len() + self.path.len()
    }
}

/// The values that a request has of the headers that `Vary` names (RFC 9111 §4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant(Box<[(HeaderName, Value)]>);

/// `None`: there is no such header.
type Value = Option<Box<[u8]>>;

impl Variant {
    pub(super) fn of(vary: &[HeaderName], request: &HeaderMap) -> Self {
        let values = vary.iter().map(|name| (name.clone(), value(request, name)));
        Self(values.collect())
    }

    pub(super) fn is_of(&self, request: &HeaderMap) -> bool {
        let mut headers = self.0.iter();
        headers.all(|(name, wanted)| value(request, name) == *wanted)
    }

    pub(super) fn bytes(&self) -> usize {
        let values = self.0.iter().map(|(name, value)| {
            name.as_str().len() + value.as_ref().map_or(0, |value| value.len())
        });
        values.sum()
    }
}

/// Several lines are one list (RFC 9110 §5.3).
fn value(request: &HeaderMap, name: &HeaderName) -> Value {
    let lines: Vec<&[u8]> = request
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes().trim_ascii())
        .collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]).into())
}

#[cfg(test)]
mod tests;
