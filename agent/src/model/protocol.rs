//! What a port speaks, as far as its Service says.

use super::service::ServicePort;

/// Of `appProtocol`, else of the port's name (`http-web`, `grpc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Nothing is said: the first bytes decide.
    #[default]
    Unknown,
    /// HTTP/1.1 or HTTP/2 by prior knowledge, whichever the client begins with.
    Http,
    /// HTTP/2 by prior knowledge, towards the endpoint as well.
    Http2,
    Grpc,
    /// TLS of the application's own: passed through, routed by SNI.
    Tls,
    /// Opaque bytes.
    Tcp,
}

impl Protocol {
    pub fn of(port: &ServicePort) -> Self {
        match &port.app_protocol {
            Some(said) => Self::of_app_protocol(said),
            None => Self::of_name(&port.name),
        }
    }

    /// Kubernetes' standard names, IANA's and Istio's. Any other one is opaque: who names a
    /// protocol that nobody here knows does not want it taken for HTTP.
    fn of_app_protocol(said: &str) -> Self {
        let is = |names: &[&str]| names.iter().any(|name| said.eq_ignore_ascii_case(name));
        if is(&["http", "http/1.1", "grpc-web", "kubernetes.io/ws", "ws"]) {
            Self::Http
        } else if is(&["http2", "h2c", "kubernetes.io/h2c"]) {
            Self::Http2
        } else if is(&["grpc"]) {
            Self::Grpc
        } else if is(&["https", "tls", "kubernetes.io/wss", "wss"]) {
            Self::Tls
        } else {
            Self::Tcp
        }
    }

    /// Istio's rule: what is before the first dash. Other names say nothing.
    fn of_name(name: &str) -> Self {
        match name.split('-').next().unwrap_or_default() {
            "http" => Self::Http,
            "http2" | "h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            "https" | "tls" => Self::Tls,
            "tcp" | "mongo" | "redis" | "mysql" => Self::Tcp,
            _ => Self::Unknown,
        }
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// Whether the endpoint gets HTTP/2 whatever the client speaks.
    pub fn wants_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}
