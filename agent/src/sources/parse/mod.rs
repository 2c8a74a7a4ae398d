//! One Kubernetes object → model types, validated here and nowhere else.
//!
//! Input is a [`serde_json::Value`], which is what both YAML files and the API server come to.
//! Each kind has a file with a narrow serde struct: only what the mesh needs is kept.

mod address;
mod backend;
mod cors;
mod endpoint_slice;
mod field;
mod filters;
mod grpc_route;
mod headers;
mod http_route;
mod kinds;
mod matches;
mod mesh_config;
mod meta;
mod namespace;
mod node;
mod path;
mod peer_authentication;
mod pod;
mod reference_grant;
mod route;
mod service;
mod session;
mod strings;
mod tcp_route;
mod tls_route;
mod traffic_policy;

use std::fmt;

use serde_json::Value;

use self::{field::Errors, kinds::Class};
pub use self::{
    field::{FieldError, FieldReason},
    kinds::IdleKind,
    strings::Strings,
};
use crate::model::{
    names::ObjectName,
    resource::{Kind, Resource, ResourceKey},
};

/// What a manifest turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    Object(ResourceKey, Resource),
    /// Weir's, but this version does nothing with it.
    Idle(IdleKind, ObjectName),
    /// Of a kind that is not Weir's business.
    Foreign,
    /// `kind: List`, or `PodList` and the like: what its items are is for the caller to ask,
    /// with [`items`].
    List,
}

/// A manifest that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What it is, as far as it can be told.
    pub object: Option<ObjectRef>,
    /// Known when the object's last good version can be found.
    pub key: Option<ResourceKey>,
    /// Never empty.
    pub errors: Vec<FieldError>,
    /// What counts in the object's place: a policy that cannot be read closes.
    pub instead: Option<Resource>,
}

/// How an object is called in messages: `PeerAuthentication shop/web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    pub kind: String,
    /// Without one, the object's name is missing or no name.
    pub name: Option<ObjectName>,
}

impl From<&ResourceKey> for ObjectRef {
    fn from(key: &ResourceKey) -> Self {
        Self {
            kind: kinds::name_of(key.kind).to_owned(),
            name: Some(key.name.clone()),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

/// Reads one object.
///
/// # Errors
/// With every field that is wrong, when the object does not count.
pub fn manifest(value: &Value, strings: &mut Strings) -> Result<Manifest, Box<Rejected>> {
    let unknown = |errors| {
        let kind = value.get("kind").and_then(Value::as_str);
        Box::new(Rejected {
            object: kind.map(|kind| ObjectRef {
                kind: kind.to_owned(),
                name: None,
            }),
            key: None,
            errors,
            instead: None,
        })
    };
    match kinds::classify(value).map_err(|error| unknown(vec![error]))? {
        Class::Foreign => Ok(Manifest::Foreign),
        Class::List => Ok(Manifest::List),
        Class::Idle(idle) => {
            let name = meta::object_name(value, true, strings);
            name.map(|name| Manifest::Idle(idle, name))
                .map_err(|error| unknown(vec![error]))
        }
        Class::Read(kind) => object(kind, value, strings),
    }
}

/// The items of a list, with what an item of a typed list (`PodList`) leaves out.
pub fn items(list: &Value) -> Result<impl Iterator<Item = Value>, FieldError> {
    kinds::items(list)
}

fn object(kind: Kind, value: &Value, strings: &mut Strings) -> Result<Manifest, Box<Rejected>> {
    let namespaced = !matches!(kind, Kind::Namespace | Kind::MeshConfig | Kind::Node);
    let named = meta::object_name(value, namespaced, strings);
    let reference = ObjectRef {
        kind: kinds::name_of(kind).to_owned(),
        name: named.as_ref().ok().cloned(),
    };
    let mut errors = Errors::default();
    let resource = match &named {
        Ok(name) => resource(kind, value, name, strings, &mut errors),
        Err(error) => {
            errors.add(error.clone());
            None
        }
    };
    let key = named.ok().map(|name| ResourceKey { kind, name });
    let errors = errors.into_vec();
    match (resource, key) {
        (Some(resource), Some(key)) if errors.is_empty() => Ok(Manifest::Object(key, resource)),
        (_, key) => Err(Box::new(Rejected {
            object: Some(reference),
            instead: match kind {
                Kind::PeerAuthentication => {
                    Some(peer_authentication::closed(value, key.as_ref(), strings))
                }
                _ => None,
            },
            key,
            errors,
        })),
    }
}

/// `None` only with an error.
fn resource(
    kind: Kind,
    value: &Value,
    name: &ObjectName,
    strings: &mut Strings,
    errors: &mut Errors,
) -> Option<Resource> {
    let name = name.clone();
    Some(match kind {
        Kind::Node => Resource::Node(node::parse(value, name, strings, errors)?.into()),
        Kind::TrafficPolicy => {
            Resource::TrafficPolicy(traffic_policy::parse(value, name, strings, errors)?.into())
        }
        Kind::Namespace => Resource::Namespace(namespace::parse(value, name, errors)?.into()),
        Kind::Pod => Resource::Pod(pod::parse(value, name, strings, errors)?.into()),
        Kind::Service => Resource::Service(service::parse(value, name, strings, errors)?.into()),
        Kind::EndpointSlice => {
            Resource::EndpointSlice(endpoint_slice::parse(value, name, strings, errors)?.into())
        }
        Kind::PeerAuthentication => Resource::PeerAuthentication(
            peer_authentication::parse(value, name, strings, errors)?.into(),
        ),
        Kind::MeshConfig => {
            Resource::MeshConfig(mesh_config::parse(value, strings, errors)?.into())
        }
        Kind::HttpRoute => Resource::Route(http_route::parse(value, name, strings, errors)?.into()),
        Kind::GrpcRoute => Resource::Route(grpc_route::parse(value, name, strings, errors)?.into()),
        Kind::TcpRoute => Resource::Route(tcp_route::parse(value, name, strings, errors)?.into()),
        Kind::TlsRoute => Resource::Route(tls_route::parse(value, name, strings, errors)?.into()),
        Kind::ReferenceGrant => {
            Resource::ReferenceGrant(reference_grant::parse(value, name, strings, errors)?.into())
        }
    })
}

#[cfg(test)]
mod tests;
