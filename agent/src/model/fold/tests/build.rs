//! Short ways to write objects.

use std::{net::IpAddr, sync::Arc};

use crate::model::{
    mesh::MeshConfig,
    names::ObjectName,
    node::Node,
    pod::{Labels, Namespace, Pod, SkipRules},
    policy::PeerAuthentication,
    resource::{Change, Kind, Resource, ResourceKey},
    route::{Backend, BackendRef, Filters, ParentRef, ReferenceGrant, Route, RouteKind, Rule},
    service::{Conditions, EndpointSlice, Service, ServicePort, SliceEndpoint},
    traffic_policy::{Policy, PolicyTarget, TrafficPolicy},
};

pub(crate) trait Build {
    fn upsert(self) -> Change;
}

macro_rules! build {
    ($($kind:ident: |$object:ident| $name:expr;)*) => {$(
        impl Build for $kind {
            fn upsert(self) -> Change {
                let $object = &self;
                let key = ResourceKey { kind: Kind::$kind, name: $name };
                Change::Upsert(key, Resource::$kind(Arc::new(self)))
            }
        }
    )*};
}

build! {
    Namespace: |namespace| ObjectName::new("", Arc::clone(&namespace.name));
    Pod: |pod| pod.name.clone();
    Service: |service| service.name.clone();
    EndpointSlice: |slice| slice.name.clone();
    PeerAuthentication: |policy| policy.name.clone();
    ReferenceGrant: |grant| grant.name.clone();
    TrafficPolicy: |policy| policy.name.clone();
    Node: |node| ObjectName::new("", Arc::clone(&node.name));
}

impl Build for Route {
    fn upsert(self) -> Change {
        let key = ResourceKey {
            kind: self.kind.into(),
            name: self.name.clone(),
        };
        Change::Upsert(key, Resource::Route(Arc::new(self)))
    }
}

pub(crate) fn mesh(name: &str, config: MeshConfig) -> Change {
    let name = ObjectName::new("", name);
    Change::Upsert(
        ResourceKey {
            kind: Kind::MeshConfig,
            name,
        },
        Resource::MeshConfig(config.into()),
    )
}

pub(crate) fn remove(kind: Kind, text: &str) -> Change {
    Change::Remove(ResourceKey {
        kind,
        name: name(text),
    })
}

/// `namespace/name`, or a name alone.
pub(crate) fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    ObjectName::new(namespace, name)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn pod(text: &str, address: &str) -> Pod {
    let name = name(text);
    Pod {
        uid: text.into(),
        labels: Labels::default(),
        node: "elsewhere".into(),
        service_account: "default".into(),
        ips: vec![ip(address)],
        host_network: false,
        finished: false,
        foreign_sidecar: false,
        workload_name: Arc::clone(&name.name),
        mesh: None,
        captured: None,
        netns: None,
        skip: SkipRules::default(),
        weight: None,
        name,
    }
}

/// Port 80, without a name.
pub(crate) fn service(text: &str, vip: &str) -> Service {
    Service {
        distribution: Default::default(),
        node_local: false,
        name: name(text),
        vips: vec![ip(vip)],
        ports: vec![ServicePort {
            name: "".into(),
            port: 80,
            app_protocol: None,
        }],
    }
}

/// Port 8080, without a name.
pub(crate) fn slice(
    text: &str,
    service: &str,
    endpoints: impl IntoIterator<Item = SliceEndpoint>,
) -> EndpointSlice {
    EndpointSlice {
        name: name(text),
        service: service.into(),
        ports: vec![("".into(), 8080)],
        endpoints: endpoints.into_iter().collect(),
    }
}

pub(crate) fn endpoint(
    address: &str,
    (ready, serving, terminating): (bool, bool, bool),
) -> SliceEndpoint {
    SliceEndpoint {
        address: ip(address),
        conditions: Conditions {
            ready,
            serving,
            terminating,
        },
        node: None,
        zone: None,
    }
}

/// For every port of `parent`, without rules.
pub(crate) fn route(kind: RouteKind, text: &str, parent: &str) -> Route {
    Route {
        kind,
        name: name(text),
        created: None,
        parents: vec![parent_ref(parent, None)],
        hostnames: Vec::new(),
        rules: Vec::new(),
    }
}

pub(crate) fn parent_ref(service: &str, port: Option<u16>) -> ParentRef {
    ParentRef {
        service: name(service),
        port,
        section: None,
    }
}

/// To port 80 of `service`.
pub(crate) fn backend_ref(service: &str) -> BackendRef {
    BackendRef::Service {
        name: name(service),
        port: 80,
    }
}

/// To each of `services` alike, whatever the request.
pub(crate) fn rule<'a>(services: impl IntoIterator<Item = &'a str>) -> Rule {
    let backend = |service| Backend {
        backend: backend_ref(service),
        weight: 1,
        filters: Filters::default(),
    };
    Rule {
        backends: services.into_iter().map(backend).collect(),
        ..Rule::default()
    }
}

/// Lets routes of `kind` in `from` refer to the Services `to`, or to all of them.
pub(crate) fn grant(
    text: &str,
    (kind, from): (RouteKind, &str),
    to: Option<&str>,
) -> ReferenceGrant {
    ReferenceGrant {
        name: name(text),
        from: vec![(kind, from.into())],
        to: vec![to.map(Into::into)],
    }
}

/// Allows `attempts` retries, by which it is known again.
pub(crate) fn traffic_policy(
    text: &str,
    targets: impl IntoIterator<Item = PolicyTarget>,
    attempts: u32,
) -> TrafficPolicy {
    let mut policy = Policy::default();
    policy.retries.attempts = Some(attempts);
    TrafficPolicy {
        name: name(text),
        created: None,
        targets: targets.into_iter().collect(),
        policy: policy.into(),
    }
}

/// The rule `section` of the HTTPRoute `route`, or all of its rules.
pub(crate) fn on_rule(route: &str, section: Option<&str>) -> PolicyTarget {
    PolicyTarget::Rule {
        kind: RouteKind::Http,
        route: route.into(),
        section: section.map(Into::into),
    }
}

pub(crate) fn node(name: &str, zone: Option<&str>) -> Node {
    Node {
        name: name.into(),
        zone: zone.map(Into::into),
    }
}
