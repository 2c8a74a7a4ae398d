//! The same of routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Reference;
use crate::model::{
    names::ObjectName,
    resource::{Kind, Resource, ResourceKey},
    route::{
        BackendRef, ParentRef, RequestMatch, ResolvedRule, Route, RouteEntry, RouteKind,
        RouteTable, Rule, grpc_precedence, http_precedence,
    },
    snapshot::Snapshot,
    traffic_policy::{Policy, PolicyTarget},
};

/// By service, namespace of the clients (none: all others) and port (none: all others).
pub(super) type TableViews = BTreeMap<TableKey, TableView>;
type TableKey = (ObjectName, Option<Arc<str>>, Option<u16>);

/// What is asked in order: HTTPRoutes, GRPCRoutes, TLSRoutes; then the TCPRoute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TableView {
    http: Vec<EntryView>,
    grpc: Vec<EntryView>,
    tls: Vec<EntryView>,
    tcp: Option<EntryView>,
}

/// Route, rule, match, for each reference whether it is refused, and the policy.
type EntryView = (ObjectName, usize, Option<usize>, Vec<bool>, Option<Policy>);

fn entry_view(rule: &ResolvedRule, matched: Option<usize>) -> EntryView {
    let refused = rule.refused.iter().chain(&rule.mirrors_refused);
    let refused = refused.map(Option::is_some).collect();
    let policy = rule.policy.as_deref().cloned();
    (
        rule.route.name.clone(),
        rule.index,
        matched,
        refused,
        policy,
    )
}

impl From<&RouteTable> for TableView {
    fn from(table: &RouteTable) -> Self {
        let view = |entries: &[RouteEntry]| {
            entries
                .iter()
                .map(|entry| entry_view(&entry.rule, entry.matched))
                .collect()
        };
        Self {
            http: view(&table.http),
            grpc: view(&table.grpc),
            tls: view(&table.tls),
            tcp: table.tcp.as_ref().map(|rule| entry_view(rule, None)),
        }
    }
}

pub(super) fn view(snapshot: &Snapshot) -> TableViews {
    snapshot
        .service_routes()
        .iter()
        .flat_map(|(service, routes)| {
            routes.tables().iter().map(|(clients, port, table)| {
                let key = (service.clone(), clients.clone(), *port);
                (key, TableView::from(&**table))
            })
        })
        .collect()
}

impl Reference {
    pub(super) fn routes(&self) -> TableViews {
        let mut routes: Vec<&Route> = self
            .objects
            .values()
            .filter_map(|(resource, _)| match resource {
                Resource::Route(route) => Some(&**route),
                _ => None,
            })
            .collect();
        routes.sort_by_key(|route| route.age());
        let keys: BTreeSet<TableKey> = routes
            .iter()
            .flat_map(|route| {
                route.parents.iter().filter_map(|parent| {
                    let service = parent.service.clone();
                    let port = self.port(parent)?;
                    Some((service, clients(route, parent), port))
                })
            })
            .collect();
        let tables = keys.into_iter().map(|(service, of, port)| {
            let acts = |route: &&&Route| {
                route.parents.iter().any(|parent| {
                    let its_port = self.port(parent);
                    parent.service == service
                        && clients(route, parent) == of
                        && (its_port == Some(None) || its_port == Some(port))
                })
            };
            let routes: Vec<&Route> = routes.iter().filter(acts).copied().collect();
            ((service, of, port), self.table(&routes))
        });
        tables
            .filter(|(_, table)| *table != TableView::default())
            .collect()
    }

    /// `None` where the name leads to no port.
    fn port(&self, parent: &ParentRef) -> Option<Option<u16>> {
        let Some(section) = &parent.section else {
            return Some(parent.port);
        };
        let key = ResourceKey {
            kind: Kind::Service,
            name: parent.service.clone(),
        };
        let Some((Resource::Service(service), _)) = self.objects.get(&key) else {
            return None;
        };
        let mut ports = service.ports.iter().filter(|port| port.name == *section);
        let named = ports.next()?.port;
        (parent.port.is_none() || parent.port == Some(named)).then_some(Some(named))
    }

    /// `routes` are sorted by age.
    fn table(&self, routes: &[&Route]) -> TableView {
        let of_kind = |kind| routes.iter().filter(move |route| route.kind == kind);
        let entry = |route: &Route, rule: usize, matched| {
            let refused = self.refused(route, &route.rules[rule]);
            let target = |section: Option<Arc<str>>| PolicyTarget::Rule {
                kind: route.kind,
                route: Arc::clone(&route.name.name),
                section,
            };
            let named = route.rules[rule].name.clone();
            let policy = [named, None]
                .into_iter()
                .find_map(|section| self.policy(&route.name.namespace, &target(section)));
            (route.name.clone(), rule, matched, refused, policy)
        };
        let requests = |kind| {
            let mut entries: Vec<(Option<&RequestMatch>, EntryView)> = Vec::new();
            for route in of_kind(kind) {
                for (index, rule) in route.rules.iter().enumerate() {
                    if rule.matches.is_empty() {
                        entries.push((None, entry(route, index, None)));
                    }
                    for (at, request) in rule.matches.iter().enumerate() {
                        entries.push((Some(request), entry(route, index, Some(at))));
                    }
                }
            }
            entries
        };
        let (mut http, mut grpc) = (requests(RouteKind::Http), requests(RouteKind::Grpc));
        http.sort_by_key(|(request, _)| http_precedence(*request));
        grpc.sort_by_key(|(request, _)| grpc_precedence(*request));
        let mut tls: Vec<(Option<&str>, EntryView)> = Vec::new();
        for route in of_kind(RouteKind::Tls).filter(|route| !route.rules.is_empty()) {
            if route.hostnames.is_empty() {
                tls.push((None, entry(route, 0, None)));
            }
            for (at, hostname) in route.hostnames.iter().enumerate() {
                tls.push((Some(hostname), entry(route, 0, Some(at))));
            }
        }
        tls.sort_by_key(|(hostname, _)| match hostname {
            Some(name) if !name.starts_with('*') => (0, usize::MAX - name.len()),
            Some(name) => (1, usize::MAX - name.len()),
            None => (2, 0),
        });
        let mut tcp = of_kind(RouteKind::Tcp).filter(|route| !route.rules.is_empty());
        TableView {
            http: http.into_iter().map(|(_, entry)| entry).collect(),
            grpc: grpc.into_iter().map(|(_, entry)| entry).collect(),
            tls: tls.into_iter().map(|(_, entry)| entry).collect(),
            tcp: tcp.next().map(|route| entry(route, 0, None)),
        }
    }

    /// Backends, then mirrors of the rule, then mirrors of the backends.
    fn refused(&self, route: &Route, rule: &Rule) -> Vec<bool> {
        let mut references: Vec<&BackendRef> = rule.backends.iter().map(|b| &b.backend).collect();
        references.extend(rule.filters.mirrors.iter().map(|m| &m.backend));
        for backend in &rule.backends {
            references.extend(backend.filters.mirrors.iter().map(|m| &m.backend));
        }
        let grants = || {
            self.objects
                .values()
                .filter_map(|(resource, _)| match resource {
                    Resource::ReferenceGrant(grant) => Some(grant),
                    _ => None,
                })
        };
        let is_refused = |reference: &&BackendRef| match reference {
            BackendRef::Invalid(_) => false,
            BackendRef::Service { name, .. } => {
                name.namespace != route.name.namespace
                    && !grants().any(|grant| grant.allows(route, name))
            }
        };
        references.iter().map(is_refused).collect()
    }
}

/// `None`: all but those that have routes of their own.
fn clients(route: &Route, parent: &ParentRef) -> Option<Arc<str>> {
    let namespace = &route.name.namespace;
    (*namespace != parent.service.namespace).then(|| Arc::clone(namespace))
}
