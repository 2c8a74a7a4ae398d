//! Why a connection or a request ended: one closed set for metrics, the access log and `weir explain`.

use std::fmt;

use http::StatusCode;

/// How a connection or a request ended. Each variant names the layer that ended it and what a person can do.
///
/// The set is closed so that it can be a metric label; what varies (a policy's name, an errno)
/// travels beside it as detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Both sides closed in order. Nothing to do.
    Ok,
    /// Policy: an AuthorizationPolicy denies this peer. Its name is in the detail; allow the
    /// principal, or find out why this peer calls.
    PolicyDenied,
    /// Policy: the pod is STRICT and the peer spoke plaintext. Enrol the peer, or set the port to
    /// PERMISSIVE.
    PlaintextRefused,
    /// Balancing: the service has no endpoint that is ready or still serving. Look at the pods'
    /// readiness.
    NoHealthyEndpoint,
    /// Routing: the service's address was dialled on a port that the Service does not list. Add
    /// the port to the Service, or correct the client.
    NoSuchPort,
    /// Capture: the kernel knows of no original destination: somebody dialled the agent's own
    /// listener. Dial the service instead.
    NoOriginalDestination,
    /// TCP: the destination did not answer in time. Look for a NetworkPolicy or firewall that
    /// drops, or a node that is gone.
    ConnectTimeout,
    /// TCP: nothing listens on the destination's port. Look at the app and its `targetPort`.
    ConnectRefused,
    /// TCP: the destination cannot be reached (no route, host unreachable, …). Look at the
    /// node's routes; the errno is in the detail.
    ConnectFailed,
    /// Tunnel: port 15008 of the destination did not answer in time. Most often a NetworkPolicy
    /// blocks it: allow TCP 15008 between enrolled pods.
    TunnelConnectTimeout,
    /// Tunnel: the destination is said to be captured but nothing listens on its port 15008. Look
    /// at the agent on its node.
    TunnelRefused,
    /// TLS: the peer proved another identity than the one that was dialled. The address probably
    /// belongs to another pod by now; if it lasts, look at who has that address.
    TlsIdentityMismatch,
    /// TLS: the handshake failed. The kind is in the detail and in
    /// `weir_tls_handshake_failures_total`.
    TlsHandshakeFailed,
    /// TLS: the peer took the TCP connection and did not finish the handshake in time. Look at
    /// the load of its agent.
    TlsHandshakeTimeout,
    /// TLS: a certificate is expired or not valid yet. Look at both nodes' clocks and at
    /// `weir_certificate_expiry_seconds`.
    TlsCertificateExpired,
    /// TLS: the peer's certificate comes from a root or a trust domain that is not trusted here.
    /// Give both agents the same root, or add the trust domain's alias to MeshConfig.
    TlsUntrusted,
    /// HBONE: the peer's agent refused the tunnel; its status is in the detail. 401 is policy,
    /// 503 its app, 400 a different view of who has the address.
    HboneRefused,
    /// HBONE: the tunnel under the connection broke (agent restarted, node lost).
    TunnelReset,
    /// TCP: the destination reset the connection. Look at the app.
    UpstreamReset,
    /// TCP: the client reset the connection. Look at the client.
    DownstreamReset,
    /// Timer: no byte passed in either direction for the idle timeout. Send keep-alives or raise
    /// `timeouts.idle`.
    IdleTimeout,
    /// Timer: one side closed and the other kept its half open without a byte for too long.
    HalfCloseTimeout,
    /// Limit: a named bound of the agent was reached (`weir_limits_reached_total`).
    LimitReached,
    /// Lifecycle: the agent is shutting down or the pod is leaving the mesh. Connect again.
    Draining,
    /// Policy: a policy changed and no longer allows a connection that was open.
    PolicyChanged,
    /// Routing: the service has routes and none of their rules matches the request. Ask
    /// `weir explain`.
    NoRoute,
    /// Routing: the rule's backend does not exist, is of a kind that Weir does not know, or may not
    /// be referred to without a ReferenceGrant. The detail says which.
    BackendNotFound,
    /// Timer: the rule's `timeouts.request` ran out before the answer was complete.
    RequestTimeout,
    /// Timer: the rule's `timeouts.backendRequest` ran out. Look at the app.
    BackendTimeout,
    /// HTTP: the request breaks the protocol (RFC 9110, 9112, 9113). Look at the client.
    BadRequest,
    /// HTTP: the request's target is longer than Weir reads.
    UriTooLong,
    /// HTTP: the request's header is larger than Weir reads.
    HeadersTooLarge,
    /// HTTP: the request's header did not arrive in time.
    HeaderTimeout,
    /// HTTP: what the app answered is no HTTP, or not what the port's `appProtocol` says.
    UpstreamProtocol,
    /// Breaker: every endpoint of the service is left alone after errors. Look at the app; `weir
    /// status` says which and since when.
    BreakerOpen,
    /// Pool: more connections or requests than `connections` of the TrafficPolicy allows. The detail
    /// says which; raise it if the service bears more.
    PoolFull,
    /// Rate limit: the destination takes no more for now (`rateLimit`). Try again after
    /// `retry-after`.
    RateLimited,
    /// Concurrency: the pod works on as much as `concurrency` allows, and its queue is full. Scale
    /// it, or raise the limit.
    Overloaded,
    /// Fault: a `fault` of a TrafficPolicy, on purpose.
    FaultInjected,
    /// Agent: a defect in Weir; the log has more. Report it.
    Internal,
}

impl Reason {
    pub const ALL: [Self; 40] = [
        Self::Ok,
        Self::PolicyDenied,
        Self::PlaintextRefused,
        Self::NoHealthyEndpoint,
        Self::NoSuchPort,
        Self::NoOriginalDestination,
        Self::ConnectTimeout,
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::TunnelConnectTimeout,
        Self::TunnelRefused,
        Self::TlsIdentityMismatch,
        Self::TlsHandshakeFailed,
        Self::TlsHandshakeTimeout,
        Self::TlsCertificateExpired,
        Self::TlsUntrusted,
        Self::HboneRefused,
        Self::TunnelReset,
        Self::UpstreamReset,
        Self::DownstreamReset,
        Self::IdleTimeout,
        Self::HalfCloseTimeout,
        Self::LimitReached,
        Self::Draining,
        Self::PolicyChanged,
        Self::NoRoute,
        Self::BackendNotFound,
        Self::RequestTimeout,
        Self::BackendTimeout,
        Self::BadRequest,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::HeaderTimeout,
        Self::UpstreamProtocol,
        Self::BreakerOpen,
        Self::PoolFull,
        Self::RateLimited,
        Self::Overloaded,
        Self::FaultInjected,
        Self::Internal,
    ];

    /// The value of the label `reason` and of the access log's field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::PolicyDenied => "policy_denied",
            Self::PlaintextRefused => "plaintext_refused",
            Self::NoHealthyEndpoint => "no_healthy_endpoint",
            Self::NoSuchPort => "no_such_port",
            Self::NoOriginalDestination => "no_original_destination",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::TunnelConnectTimeout => "tunnel_connect_timeout",
            Self::TunnelRefused => "tunnel_refused",
            Self::TlsIdentityMismatch => "tls_identity_mismatch",
            Self::TlsHandshakeFailed => "tls_handshake_failed",
            Self::TlsHandshakeTimeout => "tls_handshake_timeout",
            Self::TlsCertificateExpired => "tls_certificate_expired",
            Self::TlsUntrusted => "tls_untrusted",
            Self::HboneRefused => "hbone_refused",
            Self::TunnelReset => "tunnel_reset",
            Self::UpstreamReset => "upstream_reset",
            Self::DownstreamReset => "downstream_reset",
            Self::IdleTimeout => "idle_timeout",
            Self::HalfCloseTimeout => "half_close_timeout",
            Self::LimitReached => "limit_reached",
            Self::Draining => "draining",
            Self::PolicyChanged => "policy_changed",
            Self::NoRoute => "no_route",
            Self::BackendNotFound => "backend_not_found",
            Self::RequestTimeout => "request_timeout",
            Self::BackendTimeout => "backend_timeout",
            Self::BadRequest => "bad_request",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::HeaderTimeout => "header_timeout",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::BreakerOpen => "breaker_open",
            Self::PoolFull => "pool_full",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::FaultInjected => "fault_injected",
            Self::Internal => "internal",
        }
    }

    /// The other way round, for what people ask for.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Whether it ended as its two ends wanted it to.
    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }

    pub fn flags(self) -> ResponseFlags {
        match self {
            Self::Ok => ResponseFlags::None,
            Self::PolicyDenied | Self::PlaintextRefused | Self::PolicyChanged => {
                ResponseFlags::Unauthorized
            }
            Self::NoHealthyEndpoint | Self::BreakerOpen => ResponseFlags::NoHealthyUpstream,
            Self::NoSuchPort | Self::NoOriginalDestination | Self::NoRoute => {
                ResponseFlags::NoRoute
            }
            Self::BackendNotFound => ResponseFlags::NoCluster,
            Self::ConnectTimeout
            | Self::ConnectRefused
            | Self::ConnectFailed
            | Self::TunnelConnectTimeout
            | Self::TunnelRefused
            | Self::TlsIdentityMismatch
            | Self::TlsHandshakeFailed
            | Self::TlsHandshakeTimeout
            | Self::TlsCertificateExpired
            | Self::TlsUntrusted
            | Self::HboneRefused => ResponseFlags::UpstreamFailure,
            Self::TunnelReset | Self::UpstreamReset => ResponseFlags::UpstreamTermination,
            Self::DownstreamReset => ResponseFlags::DownstreamTermination,
            Self::IdleTimeout | Self::HalfCloseTimeout | Self::HeaderTimeout => {
                ResponseFlags::StreamIdleTimeout
            }
            Self::RequestTimeout | Self::BackendTimeout => ResponseFlags::UpstreamRequestTimeout,
            Self::BadRequest | Self::UriTooLong | Self::HeadersTooLarge => {
                ResponseFlags::DownstreamProtocolError
            }
            Self::UpstreamProtocol => ResponseFlags::UpstreamProtocolError,
            Self::LimitReached | Self::PoolFull | Self::Overloaded => ResponseFlags::Overflow,
            Self::RateLimited => ResponseFlags::RateLimited,
            Self::FaultInjected => ResponseFlags::FaultInjected,
            Self::Draining => ResponseFlags::DurationTimeout,
            Self::Internal => ResponseFlags::Local,
        }
    }

    /// What a request is answered that Weir itself ends for this reason. Of those that leave nobody
    /// to answer, what would be told.
    pub fn http_status(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::PolicyDenied | Self::PlaintextRefused | Self::PolicyChanged => {
                StatusCode::FORBIDDEN
            }
            Self::NoRoute | Self::NoSuchPort | Self::NoOriginalDestination => StatusCode::NOT_FOUND,
            Self::BadRequest | Self::DownstreamReset => StatusCode::BAD_REQUEST,
            Self::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::BackendNotFound | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TunnelReset | Self::UpstreamReset | Self::UpstreamProtocol => {
                StatusCode::BAD_GATEWAY
            }
            Self::RequestTimeout
            | Self::BackendTimeout
            | Self::IdleTimeout
            | Self::HalfCloseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::NoHealthyEndpoint
            | Self::ConnectTimeout
            | Self::ConnectRefused
            | Self::ConnectFailed
            | Self::TunnelConnectTimeout
            | Self::TunnelRefused
            | Self::TlsIdentityMismatch
            | Self::TlsHandshakeFailed
            | Self::TlsHandshakeTimeout
            | Self::TlsCertificateExpired
            | Self::TlsUntrusted
            | Self::HboneRefused
            | Self::LimitReached
            | Self::BreakerOpen
            | Self::PoolFull
            | Self::Overloaded
            // What the fault says is answered in its place.
            | Self::FaultInjected
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The same for a gRPC call, as `grpc-status`: what a client would make of the HTTP status
    /// (gRPC, "HTTP to gRPC Status Code Mapping"), but for timeouts, which are deadlines, and for
    /// backends that do not exist, of which GRPCRoute says `UNAVAILABLE`.
    pub fn grpc_status(self) -> u16 {
        const DEADLINE_EXCEEDED: u16 = 4;
        const PERMISSION_DENIED: u16 = 7;
        const UNIMPLEMENTED: u16 = 12;
        const INTERNAL: u16 = 13;
        const UNAVAILABLE: u16 = 14;
        match self.http_status() {
            StatusCode::OK => 0,
            StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
            StatusCode::FORBIDDEN => PERMISSION_DENIED,
            StatusCode::NOT_FOUND => UNIMPLEMENTED,
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::TOO_MANY_REQUESTS => UNAVAILABLE,
            _ if self == Self::BackendNotFound => UNAVAILABLE,
            _ => INTERNAL,
        }
    }

    /// Envoy's letters for this end (`UF`, `UH`, …), `-` when there is nothing to say.
    pub fn response_flags(self) -> &'static str {
        self.flags().as_str()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Those of Envoy's response flags that Weir gives. Dashboards made for Istio read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResponseFlags {
    /// `-`
    None,
    /// `UAEX`: denied by authorization.
    Unauthorized,
    /// `UH`: no healthy upstream.
    NoHealthyUpstream,
    /// `NR`: no route.
    NoRoute,
    /// `UF`: the connection to the upstream could not be made.
    UpstreamFailure,
    /// `UC`: the upstream ended the connection.
    UpstreamTermination,
    /// `DC`: the downstream ended the connection.
    DownstreamTermination,
    /// `SI`: idle for too long.
    StreamIdleTimeout,
    /// `UO`: overflow, a limit.
    Overflow,
    /// `RL`: rate limited.
    RateLimited,
    /// `FI`: a fault was injected.
    FaultInjected,
    /// `DT`: the connection's time is over (drain).
    DurationTimeout,
    /// `NC`: no such cluster, a route's backend.
    NoCluster,
    /// `UT`: the upstream took too long.
    UpstreamRequestTimeout,
    /// `DPE`: the downstream broke the protocol.
    DownstreamProtocolError,
    /// `UPE`: the upstream broke the protocol.
    UpstreamProtocolError,
    /// `LR`: reset by the proxy itself.
    Local,
}

impl ResponseFlags {
    pub const ALL: [Self; 17] = [
        Self::None,
        Self::Unauthorized,
        Self::NoHealthyUpstream,
        Self::NoRoute,
        Self::UpstreamFailure,
        Self::UpstreamTermination,
        Self::DownstreamTermination,
        Self::StreamIdleTimeout,
        Self::Overflow,
        Self::RateLimited,
        Self::FaultInjected,
        Self::DurationTimeout,
        Self::NoCluster,
        Self::UpstreamRequestTimeout,
        Self::DownstreamProtocolError,
        Self::UpstreamProtocolError,
        Self::Local,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Unauthorized => "UAEX",
            Self::NoHealthyUpstream => "UH",
            Self::NoRoute => "NR",
            Self::UpstreamFailure => "UF",
            Self::UpstreamTermination => "UC",
            Self::DownstreamTermination => "DC",
            Self::StreamIdleTimeout => "SI",
            Self::Overflow => "UO",
            Self::RateLimited => "RL",
            Self::FaultInjected => "FI",
            Self::DurationTimeout => "DT",
            Self::NoCluster => "NC",
            Self::UpstreamRequestTimeout => "UT",
            Self::DownstreamProtocolError => "DPE",
            Self::UpstreamProtocolError => "UPE",
            Self::Local => "LR",
        }
    }
}

#[cfg(test)]
mod tests;
