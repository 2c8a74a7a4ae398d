//! SPIFFE identities of the shape Istio and ztunnel use.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

/// The longest SPIFFE ID that is accepted, in bytes (SPIFFE-ID §2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, exactly that shape.
///
/// Cheap to clone: a connection, a pool key and a metric label share one allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

/// Why a text is not the identity of a workload.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SpiffeError {
    #[error("a SPIFFE ID has at most {SPIFFE_ID_BYTES_MAX} bytes")]
    TooLong,
    #[error(
        "a workload's SPIFFE ID is spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
    )]
    Shape,
}

impl SpiffeId {
    /// Joins the parts; the caller has validated them as DNS labels.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Self {
        Self(format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    pub fn namespace(&self) -> &str {
        self.parts().1
    }

    pub fn service_account(&self) -> &str {
        self.parts().2
    }

    fn parts(&self) -> (&str, &str, &str) {
        split(&self.0).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        split(text).ok_or(SpiffeError::Shape)?;
        Ok(Self(text.into()))
    }
}

/// Trust domain, namespace and service account; `None` where the shape differs in anything.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let mut segments = text.strip_prefix("spiffe://")?.split('/');
    let trust_domain = segments.next().filter(|s| is_trust_domain(s))?;
    segments.next().filter(|s| *s == "ns")?;
    let namespace = segments.next().filter(|s| is_segment(s))?;
    segments.next().filter(|s| *s == "sa")?;
    let service_account = segments.next().filter(|s| is_segment(s))?;
    segments
        .next()
        .is_none()
        .then_some((trust_domain, namespace, service_account))
}

/// SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores.
pub fn is_trust_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

/// SPIFFE-ID §2.2: letters, digits, dots, dashes and underscores, and no relative segment.
fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
