//! What a backend comes to: its service, the port of it, and the endpoints behind.

use std::sync::Arc;

use thiserror::Error;

use crate::model::{
    names::ObjectName,
    route::{BackendRef, ResolvedRule},
    service::{EndpointSet, ServicePort, ServiceState},
    snapshot::Snapshot,
};

/// A backend that somebody is behind.
#[derive(Clone, Copy, Debug)]
pub struct Resolved<'s> {
    pub service: &'s Arc<ServiceState>,
    pub port: &'s ServicePort,
    /// Not empty.
    pub endpoints: &'s Arc<EndpointSet>,
}

/// Why a request or connection for a backend goes nowhere.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unresolved {
    /// Of another namespace without a ReferenceGrant, or what [`BackendRef::Invalid`] says.
    #[error("{0}")]
    Refused(Arc<str>),
    #[error("there is no service {0}")]
    NoService(ObjectName),
    #[error("service {service} has no port {port}")]
    NoPort { service: ObjectName, port: u16 },
    #[error("service {0} has no endpoint")]
    NoEndpoint(ObjectName),
}

impl Unresolved {
    /// The service that was meant, where the reference names one that may be followed.
    pub fn service(&self) -> Option<&ObjectName> {
        match self {
            Self::Refused(_) => None,
            Self::NoService(name) | Self::NoEndpoint(name) => Some(name),
            Self::NoPort { service, .. } => Some(service),
        }
    }
}

/// The backend of a rule, if the rule may refer to it.
///
/// # Errors
/// When there is nothing to send to.
pub fn of_rule<'s>(
    snapshot: &'s Snapshot,
    rule: &ResolvedRule,
    index: usize,
) -> Result<Resolved<'s>, Unresolved> {
    if let Some(why) = rule.refused.get(index).and_then(Option::as_ref) {
        return Err(Unresolved::Refused(Arc::clone(why)));
    }
    resolve(snapshot, &rule.rule().backends[index].backend)
}

/// # Errors
/// When there is nothing to send to.
pub fn resolve<'s>(
    snapshot: &'s Snapshot,
    backend: &BackendRef,
) -> Result<Resolved<'s>, Unresolved> {
    match backend {
        BackendRef::Service { name, port } => of_service(snapshot, name, *port),
        BackendRef::Invalid(why) => Err(Unresolved::Refused(Arc::clone(why))),
    }
}

/// # Errors
/// When there is nothing to send to.
pub fn of_service<'s>(
    snapshot: &'s Snapshot,
    name: &ObjectName,
    port: u16,
) -> Result<Resolved<'s>, Unresolved> {
    let service = snapshot
        .service(name)
        .ok_or_else(|| Unresolved::NoService(name.clone()))?;
    let (service_port, endpoints) =
        service
            .endpoints_of_port(port)
            .ok_or_else(|| Unresolved::NoPort {
                service: name.clone(),
                port,
            })?;
    if endpoints.is_empty() {
        return Err(Unresolved::NoEndpoint(name.clone()));
    }
    Ok(Resolved {
        service,
        port: service_port,
        endpoints,
    })
}
