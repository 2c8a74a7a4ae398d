//! Routes: what HTTPRoute, GRPCRoute, TCPRoute and TLSRoute say of the traffic of a Service
//! (Gateway API v1.7 for meshes, GAMMA).
//!
//! A [`Route`] is one validated object. The fold makes of all of them one [`RouteTable`] for each
//! port of a service that has any, with its entries in the order in which they are asked.

mod precedence;
mod table;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

pub use self::{
    precedence::{grpc_precedence, http_precedence},
    table::{PortRoutes, ResolvedRule, RouteEntry, RouteTable, ServiceRoutes},
};
use super::{names::ObjectName, traffic_policy::RetryPolicy};

/// Which kind a [`Route`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    Http,
    Grpc,
    Tcp,
    Tls,
}

impl RouteKind {
    pub const ALL: [Self; 4] = [Self::Http, Self::Grpc, Self::Tcp, Self::Tls];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tcp => "TCPRoute",
            Self::Tls => "TLSRoute",
        }
    }
}

/// A route object. TCPRoutes and TLSRoutes use no more of a rule than its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub kind: RouteKind,
    pub name: ObjectName,
    pub created: Option<SystemTime>,
    /// `spec.parentRefs` that name a Service; others are not the mesh's business.
    pub parents: Vec<ParentRef>,
    /// `spec.hostnames` of a TLSRoute, matched with the SNI: a name, or `*.` before a suffix.
    /// Of HTTP routes they do not count in a mesh: the address dialled decides.
    pub hostnames: Vec<Arc<str>>,
    pub rules: Vec<Rule>,
}

/// The Service, and perhaps the one port of it, that a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    pub service: ObjectName,
    /// `None`: every port, or the one that `section` names.
    pub port: Option<u16>,
    /// `sectionName`: the name of a port of the Service. With `port`, both must be of one port.
    pub section: Option<Arc<str>>,
}

/// `spec.rules[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub name: Option<Arc<str>>,
    /// Any of them is enough; none at all matches every request.
    pub matches: Vec<RequestMatch>,
    pub filters: Filters,
    pub backends: Vec<Backend>,
    pub timeouts: Timeouts,
    /// `retry` (experimental, GEP-1731).
    pub retries: RetryPolicy,
    pub session: Option<SessionPersistence>,
}

/// `matches[]`: all of what it says must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatch {
    /// `None` matches every path.
    pub path: Option<PathMatch>,
    pub method: Option<Method>,
    pub headers: Vec<(HeaderName, TextMatch)>,
    pub query: Vec<(Arc<str>, TextMatch)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    Exact(Arc<str>),
    /// Whole segments: `/a/b` matches `/a/b` and `/a/b/c`, not `/a/bc`. Without a slash at its
    /// end, save for `/` itself.
    Prefix(Arc<str>),
    /// The whole path must match.
    Regex(Pattern),
    /// `GRPCRoute`'s `method`: `/service/method`.
    Grpc {
        service: Option<TextMatch>,
        method: Option<TextMatch>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    Exact(Arc<str>),
    /// The whole value must match.
    Regex(Pattern),
}

/// A regular expression (RE2's syntax, linear time) that must match the whole of a text.
#[derive(Clone)]
pub struct Pattern {
    /// As its author wrote it.
    source: Arc<str>,
    regex: Regex,
}

/// Size of a compiled [`Pattern`].
pub const PATTERN_BYTES_MAX: usize = 256 << 10;

impl Pattern {
    /// # Errors
    /// In the words of the regex crate, when it is none or too large.
    pub fn new(source: &str) -> Result<Self, String> {
        let regex = regex::RegexBuilder::new(&format!("^(?:{source})$"))
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        // An unbalanced parenthesis could close the group and escape the anchors.
        Regex::new(source).map_err(|error| error.to_string())?;
        Ok(Self {
            source: source.into(),
            regex,
        })
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// `filters[]` of a rule or of one of its backends, each kind at most once but mirrors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub request_headers: Option<HeaderModifier>,
    pub response_headers: Option<HeaderModifier>,
    pub redirect: Option<Redirect>,
    pub rewrite: Option<Rewrite>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
}

/// `RequestHeaderModifier`, `ResponseHeaderModifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

/// `RequestRedirect`. What is `None` stays as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Scheme>,
    pub hostname: Option<Arc<str>>,
    pub path: Option<PathModifier>,
    pub port: Option<u16>,
    /// 301, 302 (the default), 303, 307 or 308.
    pub status: StatusCode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// `URLRewrite`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub hostname: Option<Arc<str>>,
    pub path: Option<PathModifier>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// `replaceFullPath`
    Full(Arc<str>),
    /// `replacePrefixMatch`: what the matched prefix becomes.
    Prefix(Arc<str>),
}

/// `RequestMirror`: `numerator` of `denominator` requests are sent there as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub backend: BackendRef,
    pub numerator: u32,
    /// Never zero.
    pub denominator: u32,
}

/// `CORS` (Gateway API v1.5, GEP-1767; the Fetch standard).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    pub allow_origins: Vec<Origin>,
    pub allow_credentials: bool,
    /// `*` stays a name of its own.
    pub allow_methods: Vec<Arc<str>>,
    pub allow_headers: Vec<Arc<str>>,
    pub expose_headers: Vec<Arc<str>>,
    /// Seconds; default 5.
    pub max_age: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://a.example`, in lower case and without the port that the scheme implies, as
    /// browsers write it.
    Exact(Arc<str>),
    /// `https://*.example`, likewise: what is before and after the star, which stands for one or
    /// more labels, or for the whole host.
    Wildcard { before: Arc<str>, after: Arc<str> },
}

/// `backendRefs[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub backend: BackendRef,
    /// 0 to 1,000,000; its share is its weight by the sum of all.
    pub weight: u32,
    pub filters: Filters,
}

/// Where a request can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendRef {
    Service {
        name: ObjectName,
        port: u16,
    },
    /// Of a kind that Weir does not know, or without a port: such a share of the requests gets
    /// 500, as the Gateway API says. The text says what is wrong.
    Invalid(Arc<str>),
}

/// `timeouts`. [`Duration::ZERO`], `0s` in the manifest, is "no limit" said on purpose: a policy's word
/// does not count then. `None`: nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's arrival to the end of the answer.
    pub request: Option<Duration>,
    /// The same of one try at one backend.
    pub backend_request: Option<Duration>,
}

/// `sessionPersistence` (experimental, GEP-1619).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPersistence {
    pub by: SessionBy,
    /// Name of the cookie or header.
    pub name: Arc<str>,
    pub absolute_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionBy {
    /// `permanent`: the cookie is kept for the absolute timeout, else until the browser ends.
    Cookie {
        permanent: bool,
    },
    Header,
}

impl Route {
    /// The oldest comes first, then the name. A route whose age is unknown, as in a folder, is
    /// younger than one whose age is known.
    pub fn age(&self) -> (bool, Option<SystemTime>, &ObjectName, RouteKind) {
        (self.created.is_none(), self.created, &self.name, self.kind)
    }
}

/// `ReferenceGrant`: whom its namespace lets refer to its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    pub name: ObjectName,
    /// Routes of these kinds and namespaces.
    pub from: Vec<(RouteKind, Arc<str>)>,
    /// The services; `None` for every one.
    pub to: Vec<Option<Arc<str>>>,
}

impl ReferenceGrant {
    pub fn allows(&self, from: &Route, to: &ObjectName) -> bool {
        self.name.namespace == to.namespace
            && self
                .from
                .iter()
                .any(|(kind, namespace)| *kind == from.kind && *namespace == from.name.namespace)
            && self
                .to
                .iter()
                .any(|service| service.as_ref().is_none_or(|service| *service == to.name))
    }
}
