//! `TrafficPolicy`: what keeps a service alive when its parts fail.
//!
//! A [`TrafficPolicy`] is one validated object, a [`Policy`] what it says. A policy's fields are
//! `None` where its author says nothing, so that several can be laid over each other field by
//! field: the rule's own stanza, a policy on the rule, one on the Service, the defaults.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderName, Method, StatusCode};

use super::{
    names::ObjectName,
    route::{RouteKind, TextMatch},
};

/// A TrafficPolicy object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficPolicy {
    pub name: ObjectName,
    pub created: Option<SystemTime>,
    /// Of the policy's own namespace.
    pub targets: Vec<PolicyTarget>,
    pub policy: Arc<Policy>,
}

impl TrafficPolicy {
    /// The oldest comes first, then the name. A policy whose age is unknown, as in a folder, is
    /// younger than one whose age is known.
    pub fn age(&self) -> (bool, Option<SystemTime>, &ObjectName) {
        (self.created.is_none(), self.created, &self.name)
    }
}

/// `spec.targetRefs[]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyTarget {
    Service(Arc<str>),
    /// Of an HTTPRoute or a GRPCRoute the rule of this name; `None`: every rule.
    Rule {
        kind: RouteKind,
        route: Arc<str>,
        section: Option<Arc<str>>,
    },
}

/// Several policies on one target: the oldest wins wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConflict {
    /// In the winner's namespace.
    pub target: PolicyTarget,
    pub winner: ObjectName,
    /// On this target they say nothing.
    pub losers: Vec<ObjectName>,
}

impl fmt::Display for PolicyConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficPolicy ")?;
        for (index, loser) in self.losers.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{loser}")?;
        }
        let Self { target, winner, .. } = self;
        write!(
            f,
            ": does not count for {target}: {winner} is older, or as old and first by name"
        )
    }
}

impl fmt::Display for PolicyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "Service {name}"),
            Self::Rule {
                kind,
                route,
                section,
            } => {
                write!(f, "{} {route}", kind.as_str())?;
                match section {
                    Some(section) => write!(f, ", rule {section}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// `spec`, less its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub timeouts: TimeoutPolicy,
    pub retries: RetryPolicy,
    pub connections: ConnectionPolicy,
    /// `None`: [`CircuitBreaker::default`] acts, and the last closed endpoint stays closed.
    pub circuit_breaker: Option<CircuitBreaker>,
    pub fallback: Option<Fallback>,
    pub load_balancer: Option<LoadBalancer>,
    pub health_check: Option<HealthCheck>,
    /// At the destination, every one of them.
    pub rate_limits: Vec<RateLimit>,
    pub concurrency: Option<Concurrency>,
    pub fault: Fault,
}

/// `timeouts`. [`Duration::ZERO`], `0s` in the manifest, is "no limit" said on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Of a connection to an endpoint. Default [`CONNECT_TIMEOUT`].
    pub connect: Option<Duration>,
    /// From a request's arrival to the end of its answer. Default: none.
    pub request: Option<Duration>,
    /// Of a connection on which, or of a request for which, no byte passes. Default
    /// [`IDLE_TIMEOUT`].
    pub idle: Option<Duration>,
}

pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// `retries`, and a HTTPRoute rule's `retry` (GEP-1731).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After the first try; 0 turns retries off, save that another endpoint is dialled where none
    /// was reached. Default [`RETRY_ATTEMPTS`].
    pub attempts: Option<u32>,
    /// Default [`RetryOn::ALWAYS_SAFE`].
    pub on: Option<RetryOn>,
    /// Zero: no limit of its own.
    pub per_try_timeout: Option<Duration>,
    pub backoff_base: Option<Duration>,
    pub backoff_max: Option<Duration>,
    /// Methods that are tried again after they may have been processed. Default: the idempotent
    /// ones (RFC 9110 §9.2.2). gRPC calls are POST: conditions on gRPC statuses apply to them
    /// without being asked, since a service names them only for calls that bear it.
    pub methods: Option<Vec<Method>>,
    /// Of a request's body that is kept for another try.
    pub buffer_bytes: Option<usize>,
    /// Of the tries of all requests, the share that may be retries: 0 to 100.
    pub budget_percent: Option<u8>,
    /// Retries that are allowed whatever the share.
    pub budget_min_per_second: Option<u32>,
}

pub const RETRY_ATTEMPTS: u32 = 2;
pub const RETRY_ATTEMPTS_MAX: u32 = 10;
pub const RETRY_BACKOFF_BASE: Duration = Duration::from_millis(25);
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_millis(250);
pub const RETRY_BUFFER_BYTES: usize = 64 << 10;
pub const RETRY_BUFFER_BYTES_MAX: usize = 4 << 20;
pub const RETRY_BUDGET_PERCENT: u8 = 20;
pub const RETRY_BUDGET_MIN_PER_SECOND: u32 = 10;

/// `retries.on`: after what a request is tried again. A list replaces the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection: nothing was sent.
    pub connect_failure: bool,
    /// REFUSED_STREAM (RFC 9113 §8.7): nothing was processed.
    pub refused_stream: bool,
    /// The connection ended before an answer.
    pub reset: bool,
    /// 502, 503 and 504.
    pub gateway_error: bool,
    pub server_error: bool,
    /// 409.
    pub retriable_4xx: bool,
    /// A try that ran into `perTryTimeout`. With `gateway_error`, `server_error` or `reset` it is
    /// implied.
    pub timeout: bool,
    /// Statuses that a HTTPRoute's `retry.codes` names.
    pub statuses: Vec<StatusCode>,
    /// gRPC status codes, of which the number is the bit.
    pub grpc: u32,
}

impl RetryOn {
    /// What was certainly not processed.
    pub const ALWAYS_SAFE: Self = Self {
        connect_failure: true,
        refused_stream: true,
        reset: false,
        gateway_error: false,
        server_error: false,
        retriable_4xx: false,
        timeout: false,
        statuses: Vec::new(),
        grpc: 0,
    };
}

/// `connections`: the limits of what this agent has open with a service. At L4 they count where a
/// policy names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPolicy {
    /// Open connections, idle ones included.
    pub max: Option<u32>,
    /// Requests that wait for one.
    pub pending: Option<u32>,
    /// Requests under way, waiting ones included.
    pub requests: Option<u32>,
    /// After so many a connection is closed; `None`: never for that.
    pub requests_per_connection: Option<u32>,
}

pub const CONNECTIONS: u32 = 1024;
pub const PENDING: u32 = 1024;
pub const REQUESTS: u32 = 1024;

/// `circuitBreaker`: when an endpoint is left alone, and how it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Errors in a row that open it; 0: never for that.
    pub consecutive_errors: u32,
    /// Share of errors within `window` that opens it, 1 to 100, once there were `min_requests`.
    pub error_percent: Option<u8>,
    pub window: Duration,
    pub min_requests: u32,
    /// Doubles with every failed probe, up to `max_open_for`.
    pub open_for: Duration,
    pub max_open_for: Duration,
    /// Requests at a time while half open.
    pub half_open_requests: u32,
    /// For how long they have to succeed; zero: the first success closes it.
    pub half_open_for: Duration,
    /// Share of a service's endpoints that may be open, 0 to 100.
    pub max_ejected_percent: u8,
    /// What is an error beside 502, 503, 504, resets, connect failures and timeouts.
    pub error_on: ErrorOn,
}

/// `circuitBreaker.errorOn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorOn {
    /// Every 5xx.
    pub server_error: bool,
    /// 429.
    pub too_many_requests: bool,
    /// gRPC status codes, of which the number is the bit. UNAVAILABLE always is one.
    pub grpc: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            error_percent: None,
            window: Duration::from_secs(10),
            min_requests: 20,
            open_for: Duration::from_secs(1),
            max_open_for: Duration::from_secs(60),
            half_open_requests: 1,
            half_open_for: Duration::ZERO,
            max_ejected_percent: 100,
            error_on: ErrorOn::default(),
        }
    }
}

/// `fallback`: stale answers while the service fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// How long after it has gone stale an answer is better than none (RFC 5861 §4); an answer's
    /// own `stale-if-error` is respected where it is shorter.
    pub stale_if_error: Duration,
    /// Of one pod's answers together.
    pub max_bytes: usize,
    /// GET, HEAD or both.
    pub methods: Vec<Method>,
}

/// Default of [`Fallback::max_bytes`], and what all pods of a node have together.
pub const FALLBACK_BYTES: usize = 1 << 20;
pub const FALLBACK_NODE_BYTES_MAX: usize = 64 << 20;

/// `loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    pub algorithm: Algorithm,
    /// What ring-hash and maglev hash; a request that has none of it goes to any endpoint.
    pub hash_on: Option<HashOn>,
    /// A new endpoint's share grows from [`SLOW_START_FLOOR_PERCENT`] to its whole within this
    /// time; zero: at once.
    pub slow_start: Duration,
    /// `None` says nothing: the Service's own `trafficDistribution` counts.
    pub locality: Locality,
}

pub const SLOW_START_FLOOR_PERCENT: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    #[default]
    Ewma,
    LeastRequest,
    RoundRobin,
    Random,
    RingHash,
    Maglev,
}

impl Algorithm {
    pub fn is_hash(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// `loadBalancer.hashOn`: exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    Header(HeaderName),
    Cookie(Arc<str>),
    /// The client pod's address.
    Source,
}

/// Which endpoints are better than others for being near: `loadBalancer.locality`, else the
/// Service's `trafficDistribution`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locality {
    /// All are alike.
    #[default]
    None,
    /// Those of the client's zone, as long as enough of them are fit and they are not much slower.
    PreferZone,
    /// Those of the client's node, then those of its zone (`PreferSameNode`, KEP-3015).
    PreferNode,
}

/// `healthCheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub by: HealthCheckBy,
    pub interval: Duration,
    pub timeout: Duration,
    /// Successes in a row after which an unhealthy endpoint is healthy.
    pub healthy: u32,
    /// Failures in a row after which a healthy endpoint is unhealthy.
    pub unhealthy: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckBy {
    /// `GET` of this path; 2xx is success.
    Http { path: Arc<str> },
    /// `grpc.health.v1.Health/Check` of this service, which may be empty; SERVING is success.
    Grpc { service: Arc<str> },
    /// A connection.
    Tcp,
}

/// `rateLimit[]`: a token bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Or connections, of what is no HTTP.
    pub requests: u32,
    pub per: Duration,
    /// Of the bucket; as many can come at once.
    pub burst: u32,
    pub by: RateLimitBy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitBy {
    /// One bucket.
    All,
    /// One for each caller's identity; those without one share one.
    Identity,
    /// One for each value of a header; requests without it share one.
    Header(HeaderName),
}

/// `concurrency`: what one pod works on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    pub limit: u32,
    /// Requests that wait; past it they are shed.
    pub queue: u32,
}

/// `fault`: failures on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub delay: Option<DelayFault>,
    pub abort: Option<AbortFault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayFault {
    /// 0 to 100.
    pub percent: u8,
    pub duration: Duration,
    /// All of them must match; none: every request.
    pub headers: Vec<(HeaderName, TextMatch)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortFault {
    /// 0 to 100.
    pub percent: u8,
    pub answer: AbortWith,
    pub headers: Vec<(HeaderName, TextMatch)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortWith {
    Status(StatusCode),
    /// A gRPC status code, of gRPC calls; others get the HTTP status that it means.
    Grpc(u8),
}
