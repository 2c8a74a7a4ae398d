//! Validated objects, and the changes that sources send.

use std::sync::Arc;

use super::{
    mesh::MeshConfig,
    names::ObjectName,
    node::Node,
    pod::{Namespace, Pod},
    policy::PeerAuthentication,
    route::{ReferenceGrant, Route, RouteKind},
    service::{EndpointSlice, Service},
    traffic_policy::TrafficPolicy,
};

/// One validated object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Namespace(Arc<Namespace>),
    Pod(Arc<Pod>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    PeerAuthentication(Arc<PeerAuthentication>),
    MeshConfig(Arc<MeshConfig>),
    /// Of the kind that the key says.
    Route(Arc<Route>),
    ReferenceGrant(Arc<ReferenceGrant>),
    TrafficPolicy(Arc<TrafficPolicy>),
    Node(Arc<Node>),
}

/// The kinds that this version acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Pod,
    Service,
    EndpointSlice,
    PeerAuthentication,
    MeshConfig,
    HttpRoute,
    GrpcRoute,
    TcpRoute,
    TlsRoute,
    ReferenceGrant,
    TrafficPolicy,
    Node,
}

impl From<RouteKind> for Kind {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Http => Self::HttpRoute,
            RouteKind::Grpc => Self::GrpcRoute,
            RouteKind::Tcp => Self::TcpRoute,
            RouteKind::Tls => Self::TlsRoute,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    pub kind: Kind,
    pub name: ObjectName,
}

/// A change of the world as a source saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Upsert(ResourceKey, Resource),
    Remove(ResourceKey),
}

/// Changes that belong together: they are applied as one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub changes: Vec<Change>,
    /// Objects and files that are refused right now, in the state after this delta.
    pub rejected: usize,
    /// The source has delivered everything it knew at its start.
    pub synced: bool,
}
