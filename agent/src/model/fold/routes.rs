//! Routes: references resolved, and for each service one table a port and group of clients.

mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Fold, Touched, policies::Policies};
use crate::model::{
    names::ObjectName,
    route::{
        BackendRef, Mirror, ParentRef, PortRoutes, ReferenceGrant, ResolvedRule, Route, RouteKind,
        RouteTable, ServiceRoutes,
    },
    service::Service,
};

type RouteKey = (RouteKind, ObjectName);

/// All routes and grants, and who must be asked again when one changes.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: BTreeMap<RouteKey, Resolved>,
    grants: BTreeMap<ObjectName, Arc<ReferenceGrant>>,
    /// Service → the routes that it is a parent of.
    attached: BTreeMap<ObjectName, BTreeSet<RouteKey>>,
    /// Namespace → the routes of other namespaces with backends in it.
    referrers: BTreeMap<Arc<str>, BTreeSet<RouteKey>>,
}

/// A route, with its rules as they were when its references were looked at last.
#[derive(Debug)]
struct Resolved {
    route: Arc<Route>,
    rules: Vec<Arc<ResolvedRule>>,
}

/// A route, and the ports of one service that it is for (`None`: every one).
type Attached<'a> = (&'a Resolved, BTreeSet<Option<u16>>);

/// What one delta has touched of the routes.
#[derive(Default)]
pub(super) struct TouchedRoutes {
    /// Whose references are looked at anew.
    routes: BTreeSet<RouteKey>,
    /// Whose tables are made anew.
    services: BTreeSet<ObjectName>,
}

impl TouchedRoutes {
    /// What else than the route itself says of it changed.
    pub(super) fn touch(&mut self, route: RouteKey) {
        self.routes.insert(route);
    }
}

impl Routes {
    pub(super) fn upsert(&mut self, route: Arc<Route>, touched: &mut TouchedRoutes) {
        let key = (route.kind, route.name.clone());
        if self.routes.get(&key).is_some_and(|old| old.route == route) {
            return;
        }
        self.remove(&key, touched);
        for service in services_of(&route) {
            self.attached
                .entry(service.clone())
                .or_default()
                .insert(key.clone());
            touched.services.insert(service.clone());
        }
        for namespace in foreign_namespaces(&route) {
            self.referrers
                .entry(namespace)
                .or_default()
                .insert(key.clone());
        }
        touched.routes.insert(key.clone());
        let rules = Vec::new();
        self.routes.insert(key, Resolved { route, rules });
    }

    pub(super) fn remove(&mut self, key: &RouteKey, touched: &mut TouchedRoutes) {
        let Some(Resolved { route, .. }) = self.routes.remove(key) else {
            return;
        };
        for service in services_of(&route) {
            withdraw(&mut self.attached, service, key);
            touched.services.insert(service.clone());
        }
        for namespace in foreign_namespaces(&route) {
            withdraw(&mut self.referrers, &namespace, key);
        }
    }

    pub(super) fn upsert_grant(&mut self, grant: Arc<ReferenceGrant>, touched: &mut TouchedRoutes) {
        self.touch_referrers(&grant.name.namespace, touched);
        self.grants.insert(grant.name.clone(), grant);
    }

    pub(super) fn remove_grant(&mut self, name: &ObjectName, touched: &mut TouchedRoutes) {
        self.grants.remove(name);
        self.touch_referrers(&name.namespace, touched);
    }

    fn touch_referrers(&self, namespace: &Arc<str>, touched: &mut TouchedRoutes) {
        let referrers = self.referrers.get(namespace).into_iter().flatten();
        touched.routes.extend(referrers.cloned());
    }

    /// The ports of `service` changed: their names may lead elsewhere.
    pub(super) fn touch_service(&self, service: &ObjectName, touched: &mut TouchedRoutes) {
        if self.attached.contains_key(service) {
            touched.services.insert(service.clone());
        }
    }

    /// Looks at the references of a route, and the policies on it, anew. Rules that come out as they were stay the same
    /// allocations; if all do, no service is touched.
    fn resolve(
        &mut self,
        key: &RouteKey,
        policies: &Policies,
        services: &mut BTreeSet<ObjectName>,
    ) {
        let Some(old) = self.routes.get(key) else {
            return;
        };
        let route = &old.route;
        let resolve = |index| {
            let new = self.resolve_rule(route, index, policies);
            let before = old.rules.get(index).filter(|before| {
                (&before.refused, &before.mirrors_refused) == (&new.refused, &new.mirrors_refused)
                    && before.policy == new.policy
            });
            before.map_or_else(|| Arc::new(new), Arc::clone)
        };
        let rules: Vec<Arc<ResolvedRule>> = (0..route.rules.len()).map(resolve).collect();
        let stays = rules.len() == old.rules.len()
            && rules
                .iter()
                .zip(&old.rules)
                .all(|(new, old)| Arc::ptr_eq(new, old));
        if stays {
            return;
        }
        services.extend(services_of(route).cloned());
        if let Some(resolved) = self.routes.get_mut(key) {
            resolved.rules = rules;
        }
    }

    fn resolve_rule(&self, route: &Arc<Route>, index: usize, policies: &Policies) -> ResolvedRule {
        let rule = route.rules.get(index);
        let backends = || rule.into_iter().flat_map(|rule| &rule.backends);
        let mirrors = rule
            .into_iter()
            .flat_map(|rule| &rule.filters.mirrors)
            .chain(backends().flat_map(|backend| &backend.filters.mirrors));
        let name = rule.and_then(|rule| rule.name.clone());
        ResolvedRule {
            policy: policies.of_rule(route, name.as_ref()),
            refused: backends()
                .map(|backend| self.refusal(route, &backend.backend))
                .collect(),
            mirrors_refused: mirrors
                .map(|mirror| self.refusal(route, &mirror.backend))
                .collect(),
            weights: backends().map(|backend| u64::from(backend.weight)).sum(),
            route_label: format!("{}/{}", route.kind.as_str(), route.name).into(),
            rule_label: name.unwrap_or_else(|| index.to_string().into()),
            route: Arc::clone(route),
            index,
        }
    }

    /// Why `route` may not refer to `backend`. Within its own namespace it always may.
    fn refusal(&self, route: &Route, backend: &BackendRef) -> Option<Arc<str>> {
        let BackendRef::Service { name, .. } = backend else {
            return None;
        };
        let first = ObjectName::new(Arc::clone(&name.namespace), "");
        let allowed = route.name.namespace == name.namespace
            || self
                .grants
                .range(first..)
                .take_while(|(grant, _)| grant.namespace == name.namespace)
                .any(|(_, grant)| grant.allows(route, name));
        (!allowed).then(|| {
            let (namespace, kind) = (&name.namespace, route.kind.as_str());
            let from = &route.name;
            format!("no ReferenceGrant in {namespace} lets {kind} {from} refer to Service {name}")
                .into()
        })
    }

    /// The tables of `name`. Those that come out as in `before` stay the same allocations.
    fn tables(
        &self,
        name: &ObjectName,
        service: Option<&Service>,
        before: &[PortRoutes],
    ) -> Vec<PortRoutes> {
        // Producer routes are of the service's own namespace, consumer routes of their clients'.
        let mut groups: BTreeMap<Option<Arc<str>>, Vec<Attached<'_>>> = BTreeMap::new();
        for key in self.attached.get(name).into_iter().flatten() {
            let Some(resolved) = self.routes.get(key) else {
                continue;
            };
            let namespace = &resolved.route.name.namespace;
            let clients = (*namespace != name.namespace).then(|| Arc::clone(namespace));
            let ports = ports_of(&resolved.route, name, service);
            groups.entry(clients).or_default().push((resolved, ports));
        }
        let mut tables = Vec::new();
        for (clients, routes) in groups {
            let ports: BTreeSet<Option<u16>> = routes
                .iter()
                .flat_map(|(_, ports)| ports)
                .copied()
                .collect();
            for port in ports {
                // A route for every port acts on those that other routes name as well.
                let of_port = routes
                    .iter()
                    .filter(|(_, ports)| ports.contains(&port) || ports.contains(&None))
                    .map(|(resolved, _)| resolved.rules.as_slice());
                let new = table::build(of_port);
                if new.is_empty() {
                    continue;
                }
                let old = before
                    .iter()
                    .find(|(c, p, _)| *c == clients && *p == port)
                    .filter(|(_, _, old)| table::is_same(old, &new));
                let table = old.map_or_else(|| Arc::new(new), |(_, _, old)| Arc::clone(old));
                tables.push((clients.clone(), port, table));
            }
        }
        tables
    }
}

impl Fold {
    pub(super) fn derive_routes(&mut self, touched: &mut Touched) {
        let TouchedRoutes {
            routes,
            mut services,
        } = std::mem::take(&mut touched.routes);
        for key in &routes {
            self.routes.resolve(key, &self.policies, &mut services);
        }
        for service in services {
            self.derive_tables(service);
        }
    }

    fn derive_tables(&mut self, name: ObjectName) {
        let service = self.state.services.get(&name);
        let service = service.map(|state| state.service.as_ref());
        let old = self.state.routes.get(&name);
        let before = old.map_or(&[][..], |old| old.tables());
        let tables = self.routes.tables(&name, service, before);
        let is_same = |(new, old): (&PortRoutes, &PortRoutes)| {
            (&new.0, new.1) == (&old.0, old.1) && Arc::ptr_eq(&new.2, &old.2)
        };
        if tables.len() == before.len() && tables.iter().zip(before).all(is_same) {
            return;
        }
        if tables.is_empty() {
            self.state.routes.remove(&name);
        } else {
            let routes = Arc::new(ServiceRoutes::new(tables));
            self.state.routes.insert(name, routes);
        }
    }
}

fn services_of(route: &Route) -> impl Iterator<Item = &ObjectName> {
    route.parents.iter().map(|parent| &parent.service)
}

/// Namespaces whose grants decide on the references of `route`.
fn foreign_namespaces(route: &Route) -> BTreeSet<Arc<str>> {
    let mirror = |mirror: &Mirror| match &mirror.backend {
        BackendRef::Service { name, .. } => Some(Arc::clone(&name.namespace)),
        BackendRef::Invalid(_) => None,
    };
    let mut namespaces = BTreeSet::new();
    for rule in &route.rules {
        namespaces.extend(rule.filters.mirrors.iter().filter_map(mirror));
        for backend in &rule.backends {
            namespaces.extend(backend.filters.mirrors.iter().filter_map(mirror));
            if let BackendRef::Service { name, .. } = &backend.backend {
                namespaces.insert(Arc::clone(&name.namespace));
            }
        }
    }
    namespaces.remove(&route.name.namespace);
    namespaces
}

/// The ports of the service `name` that `route` is for.
fn ports_of(route: &Route, name: &ObjectName, service: Option<&Service>) -> BTreeSet<Option<u16>> {
    let port_of = |parent: &ParentRef| {
        let Some(section) = &parent.section else {
            return Some(parent.port);
        };
        // A name that no port has is of no port.
        let named = service?.ports.iter().find(|port| port.name == *section)?;
        let agrees = parent.port.is_none_or(|port| port == named.port);
        agrees.then_some(Some(named.port))
    };
    let parents = route.parents.iter();
    parents
        .filter(|parent| parent.service == *name)
        .filter_map(port_of)
        .collect()
}

/// Takes `key` out of the set at `at`, and the set with its last one.
fn withdraw<K: Ord>(index: &mut BTreeMap<K, BTreeSet<RouteKey>>, at: &K, key: &RouteKey) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

impl RouteTable {
    fn is_empty(&self) -> bool {
        self.http.is_empty() && self.grpc.is_empty() && self.tls.is_empty() && self.tcp.is_none()
    }
}
