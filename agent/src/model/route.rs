//! Routes: what HTTPRoute, GRPCRoute, TCPRoute and TLSRoute say of the traffic of a Service
//! (Gateway API v1.7 for meshes, GAMMA).
//!
//! A [`Route`] is one validated object. The fold makes of all of them one [`RouteTable`] for each
//! port of a service that has any, with its entries in the order in which they are asked.

use std::{
    cmp::Reverse,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

use super::names::ObjectName;

/// Which kind a [`Route`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    Http,
    Grpc,
    Tcp,
    Tls,
}

impl RouteKind {
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
    /// `None`: every port.
    pub port: Option<u16>,
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
    /// `https://a.example`, compared without regard to case.
    Exact(Arc<str>),
    /// `https://*.example`: what is before and after the star, which stands for one or more
    /// labels, or for the whole host.
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

/// `timeouts`. `None`, or `0s` in the manifest, is no limit.
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

/// All routes of one service.
#[derive(Debug, Default)]
pub struct ServiceRoutes {
    /// Each with the namespace of the clients that it is for (`None`: all of them, producer
    /// routes) and the port (`None`: those without an entry of their own).
    tables: Vec<(Option<Arc<str>>, Option<u16>, Arc<RouteTable>)>,
}

impl ServiceRoutes {
    pub fn new(tables: Vec<(Option<Arc<str>>, Option<u16>, Arc<RouteTable>)>) -> Self {
        Self { tables }
    }

    /// What acts on requests to `port` by clients of `namespace`: its own consumer routes, where
    /// it has any, else the producer's.
    pub fn table(&self, port: u16, namespace: &str) -> Option<&Arc<RouteTable>> {
        let find = |consumer: Option<&str>, port: Option<u16>| {
            self.tables
                .iter()
                .find(|(of, at, _)| of.as_deref() == consumer && *at == port)
                .map(|(_, _, table)| table)
        };
        find(Some(namespace), Some(port))
            .or_else(|| find(Some(namespace), None))
            .or_else(|| find(None, Some(port)))
            .or_else(|| find(None, None))
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<RouteTable>> {
        self.tables.iter().map(|(_, _, table)| table)
    }
}

/// The routes of one port, for one kind of clients.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// HTTPRoutes' matches, the one that is asked first in front.
    pub http: Vec<RouteEntry>,
    /// GRPCRoutes' matches, likewise; asked before `http`, of gRPC requests alone.
    pub grpc: Vec<RouteEntry>,
    /// TLSRoutes' host names, likewise; of connections that begin with a TLS ClientHello.
    pub tls: Vec<RouteEntry>,
    /// TCPRoutes: the oldest one's first rule.
    pub tcp: Option<Arc<ResolvedRule>>,
}

impl RouteTable {
    /// Every rule, once for each of its matches.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<ResolvedRule>> {
        let entries = self.http.iter().chain(&self.grpc).chain(&self.tls);
        entries.map(|entry| &entry.rule).chain(&self.tcp)
    }
}

/// One match of one rule.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    pub rule: Arc<ResolvedRule>,
    /// Into the rule's matches, or a TLSRoute's host names; `None` where there are none, which
    /// matches everything.
    pub matched: Option<usize>,
}

/// A rule with its route and with what its references came to.
#[derive(Debug)]
pub struct ResolvedRule {
    pub route: Arc<Route>,
    /// Into the route's rules.
    pub index: usize,
    /// In the order of the rule's backends: whether the reference may be followed.
    pub refused: Vec<Option<Arc<str>>>,
    /// The same for mirrors.
    pub mirrors_refused: Vec<Option<Arc<str>>>,
    /// Sum of the backends' weights.
    pub weights: u64,
    /// `HTTPRoute/namespace/name`, for metrics and logs.
    pub route_label: Arc<str>,
    /// The rule's name, else its number.
    pub rule_label: Arc<str>,
}

impl ResolvedRule {
    pub fn rule(&self) -> &Rule {
        &self.route.rules[self.index]
    }
}

impl RouteEntry {
    /// `None` matches everything.
    pub fn request_match(&self) -> Option<&RequestMatch> {
        self.rule.rule().matches.get(self.matched?)
    }
}

/// How specific the match of an HTTPRoute is; the larger is asked first (Gateway API,
/// `HTTPRouteRule.matches`). A regular expression comes between exact and prefix, the longer first,
/// which is left to implementations.
pub fn http_precedence(request: Option<&RequestMatch>) -> impl Ord + use<> {
    let path = match request.and_then(|request| request.path.as_ref()) {
        Some(PathMatch::Exact(path)) => (3, path.len()),
        Some(PathMatch::Regex(pattern)) => (2, pattern.as_str().len()),
        Some(PathMatch::Prefix(prefix)) => (1, prefix.len()),
        Some(PathMatch::Grpc { .. }) | None => (1, 1),
    };
    Reverse((
        path,
        request.is_some_and(|request| request.method.is_some()),
        request.map_or(0, |request| request.headers.len()),
        request.map_or(0, |request| request.query.len()),
    ))
}

/// The same of a GRPCRoute: characters of the service, of the method, then headers
/// (`GRPCRouteRule.matches`). Exact before regular expressions.
pub fn grpc_precedence(request: Option<&RequestMatch>) -> impl Ord + use<> {
    let rank = |text: Option<&TextMatch>| match text {
        Some(TextMatch::Exact(text)) => (2, text.len()),
        Some(TextMatch::Regex(pattern)) => (1, pattern.as_str().len()),
        None => (0, 0),
    };
    let (service, method) = match request.and_then(|request| request.path.as_ref()) {
        Some(PathMatch::Grpc { service, method }) => {
            (rank(service.as_ref()), rank(method.as_ref()))
        }
        _ => ((0, 0), (0, 0)),
    };
    Reverse((
        service,
        method,
        request.map_or(0, |request| request.headers.len()),
    ))
}
