//! What is asked: who would send what, and where to.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::HOST,
    uri::{Authority, InvalidUri, PathAndQuery},
};
use thiserror::Error;

/// Header fields of one question.
pub const HEADERS_MAX: usize = 64;

/// A request that nobody has sent.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: Client,
    pub to: Target,
    pub method: Method,
    pub headers: HeaderMap,
    /// Seconds since 1970: sessions have an age.
    pub now_unix: u64,
}

/// `NAMESPACE/POD`, or `NAMESPACE` for any captured pod of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub namespace: Arc<str>,
    pub pod: Option<Arc<str>>,
}

/// What the client would connect to, and what it speaks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub speaks: Speaks,
    /// A name in lower case without a dot at its end, or an address without brackets.
    pub host: Arc<str>,
    pub port: u16,
    /// As it is in the URL.
    pub authority: Authority,
    pub path_and_query: PathAndQuery,
}

/// Of the URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// `http://`, the default.
    Http,
    /// `https://`: TLS of the client's own, which names the host (SNI).
    Tls,
    /// `tcp://`, with a port.
    Bytes,
}

/// Why a question cannot be understood.
#[derive(Debug, Error)]
pub enum QuestionError {
    #[error("a client is NAMESPACE/POD, or NAMESPACE for any pod of it; {0:?} is neither")]
    Client(String),
    #[error("{url:?} is no URL: {source}")]
    Url {
        url: String,
        #[source]
        source: InvalidUri,
    },
    #[error("{0:?} names no host")]
    NoHost(String),
    #[error("{0:?} begins with none of http://, https:// and tcp://")]
    Scheme(String),
    #[error("tcp:// has no port of its own: tcp://HOST:PORT")]
    NoPort,
    #[error("{0:?} is no method")]
    Method(String),
    #[error("a header is written 'Name: value'; {0:?} is none")]
    Header(String),
    #[error("there are more than {HEADERS_MAX} headers")]
    TooManyHeaders,
}

impl Question {
    /// `headers` are written `Name: value`; `method` is GET where it is `None`.
    ///
    /// # Errors
    /// When one of the parts cannot be understood.
    pub fn new(
        from: &str,
        to: &str,
        method: Option<&str>,
        headers: &[String],
        now_unix: u64,
    ) -> Result<Self, QuestionError> {
        let method = method.unwrap_or("GET");
        Ok(Self {
            from: from.parse()?,
            to: to.parse()?,
            method: Method::from_bytes(method.as_bytes())
                .map_err(|_| QuestionError::Method(method.to_owned()))?,
            headers: header_map(headers)?,
            now_unix,
        })
    }

    /// `Host` as the client sends it.
    pub fn authority(&self) -> &str {
        self.headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or(self.to.authority.as_str())
    }

    /// Where the client's own TLS names the host: never an address (RFC 6066 §3).
    pub(super) fn sni(&self) -> Option<&str> {
        let host = &*self.to.host;
        host.parse::<IpAddr>().is_err().then_some(host)
    }
}

fn header_map(lines: &[String]) -> Result<HeaderMap, QuestionError> {
    if lines.len() > HEADERS_MAX {
        return Err(QuestionError::TooManyHeaders);
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let wrong = || QuestionError::Header(line.clone());
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    Ok(headers)
}

impl FromStr for Client {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, pod) = match text.split_once('/') {
            Some((namespace, pod)) => (namespace, Some(pod)),
            None => (text, None),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains(['/', ' ']);
        if !is_name(namespace) || !pod.is_none_or(is_name) {
            return Err(QuestionError::Client(text.to_owned()));
        }
        Ok(Self {
            namespace: namespace.into(),
            pod: pod.map(Into::into),
        })
    }
}

impl FromStr for Target {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let uri: Uri = url.parse().map_err(|source| QuestionError::Url {
            url: text.to_owned(),
            source,
        })?;
        let speaks = match uri.scheme_str() {
            Some("http") => Speaks::Http,
            Some("https") => Speaks::Tls,
            Some("tcp") => Speaks::Bytes,
            _ => return Err(QuestionError::Scheme(text.to_owned())),
        };
        let port = match (uri.port_u16(), speaks) {
            (Some(port), _) => port,
            (None, Speaks::Http) => 80,
            (None, Speaks::Tls) => 443,
            (None, Speaks::Bytes) => return Err(QuestionError::NoPort),
        };
        let no_host = || QuestionError::NoHost(text.to_owned());
        let authority = uri.authority().ok_or_else(no_host)?;
        let host = authority.host().trim_matches(['[', ']']);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(no_host());
        }
        let path_and_query = uri.path_and_query();
        Ok(Self {
            speaks,
            host: host.into(),
            port,
            authority: authority.clone(),
            path_and_query: path_and_query
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }
}
