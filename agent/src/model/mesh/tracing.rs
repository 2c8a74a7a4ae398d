//! `spec.tracing` of `MeshConfig`.

use std::sync::Arc;

use super::{PerNamespace, Share};

/// Where spans go, and of how many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    pub collector: Collector,
    /// Share of the requests without a caller's word on it that are traced.
    pub sampling: PerNamespace<Share>,
}

/// An OpenTelemetry collector, spoken to in plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub protocol: OtlpProtocol,
    pub host: Arc<str>,
    pub port: u16,
    /// Where spans are posted to; of gRPC it is given.
    pub path: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    /// Protobuf in the body of a POST.
    Http,
}

impl OtlpProtocol {
    /// OTLP 1.x, "OTLP/gRPC Default Port" and "OTLP/HTTP Default Port".
    pub fn default_port(self) -> u16 {
        match self {
            Self::Grpc => 4317,
            Self::Http => 4318,
        }
    }

    pub fn default_path(self) -> &'static str {
        match self {
            Self::Grpc => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Http => "/v1/traces",
        }
    }
}
