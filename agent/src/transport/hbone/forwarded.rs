//! `forwarded: for="ip:port";host=service` (RFC 7239): the client's own address, since the tunnel
//! has its own port, and the service that it dialled.

use std::{net::SocketAddr, sync::Arc};

use http::HeaderValue;

/// Of a `forwarded` header what HBONE uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    pub client: Option<SocketAddr>,
    /// The service's full name.
    pub host: Option<Arc<str>>,
}

impl Forwarded {
    /// The field's value; without a client there is nothing to say.
    pub fn write(&self) -> Option<HeaderValue> {
        let client = self.client?;
        let text = match &self.host {
            Some(host) => format!("for=\"{client}\";host={host}"),
            None => format!("for=\"{client}\""),
        };
        HeaderValue::try_from(text).ok()
    }

    /// The first element; what it does not say in this form is left out.
    pub fn read(value: &HeaderValue) -> Self {
        let first = value.to_str().ok().and_then(|text| text.split(',').next());
        let mut forwarded = Self::default();
        for pair in first.unwrap_or_default().split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => forwarded.client = value.parse().ok(),
                "host" if !value.is_empty() => forwarded.host = Some(value.into()),
                _ => {}
            }
        }
        forwarded
    }
}

#[cfg(test)]
mod tests;
