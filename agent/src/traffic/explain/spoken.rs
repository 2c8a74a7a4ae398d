//! What an agent takes a connection for.

use super::question::{Question, Speaks};
use crate::model::{protocol::Protocol, service::ServiceState};

/// What an agent takes a connection for (`proxy/l4/outbound.rs`, `Arrival::first`).
pub(super) enum Taken {
    Http,
    /// Opaque bytes; of TLS, the name that it asks for, if it is looked at.
    Opaque(Option<Option<String>>),
    /// HTTP was announced, and something else came.
    Broken,
}

pub(super) fn taken(question: &Question, protocol: Protocol) -> (Taken, &'static str) {
    match (protocol, question.to.speaks) {
        (Protocol::Tcp, _) => (Taken::Opaque(None), "opaque bytes, whatever they are"),
        (_, Speaks::Http) => (Taken::Http, "HTTP"),
        (_, Speaks::Tls) => (
            Taken::Opaque(Some(question.sni().map(str::to_owned))),
            "TLS of the client's own, passed through",
        ),
        (protocol, Speaks::Bytes) if protocol.is_http() => (Taken::Broken, "broken HTTP"),
        (_, Speaks::Bytes) => (Taken::Opaque(None), "opaque bytes"),
    }
}

/// What the Service says of the protocol of its port, and how.
pub(super) fn declared(service: &ServiceState, port: u16) -> (Protocol, String) {
    let name = &service.service.name;
    let Some((service_port, _)) = service.endpoints_of_port(port) else {
        return (Protocol::Tcp, format!("service {name} has no port {port}"));
    };
    let protocol = Protocol::of(service_port);
    let says = match protocol {
        Protocol::Unknown => return (protocol, said_nothing(&service_port.name)),
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP/2",
        Protocol::Grpc => "gRPC",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "opaque bytes",
    };
    let by = match &service_port.app_protocol {
        Some(said) => format!("appProtocol {said}"),
        None => format!("the port's name {}", service_port.name),
    };
    (protocol, format!("{by} says {says}"))
}

fn said_nothing(port: &str) -> String {
    let named = match port {
        "" => "no name".to_owned(),
        name => format!("the name {name}"),
    };
    format!("the port has no appProtocol and {named}: the first bytes decide")
}
