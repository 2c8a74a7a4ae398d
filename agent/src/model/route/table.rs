//! What the fold makes of routes: tables in the order in which they are asked.

use std::sync::Arc;

use super::{RequestMatch, Route, Rule};
use crate::model::traffic_policy::Policy;

/// All routes of one service.
#[derive(Debug, Default)]
pub struct ServiceRoutes {
    tables: Vec<PortRoutes>,
}

/// For whom and which port a table is. First the namespace of the clients, whose own consumer
/// routes it holds; `None` is for all others and holds the producer's. Then the port; `None` is
/// every port without a table of its own.
pub type PortRoutes = (Option<Arc<str>>, Option<u16>, Arc<RouteTable>);

impl ServiceRoutes {
    pub fn new(tables: Vec<PortRoutes>) -> Self {
        Self { tables }
    }

    pub fn tables(&self) -> &[PortRoutes] {
        &self.tables
    }

    /// What acts on requests to `port` by clients of `namespace`: its own consumer routes, where
    /// it has any, else the producer's.
    pub fn table(&self, port: u16, namespace: &str) -> Option<&Arc<RouteTable>> {
        let find = |consumer: Option<&str>, port: Option<u16>| {
            self.tables
                .iter()
                .find(|(of, at, _)| of.as_deref() == consumer && *at == port)
                .map(|(_, _, table)| table)
        };
        find(Some(namespace), Some(port))
            .or_else(|| find(Some(namespace), None))
            .or_else(|| find(None, Some(port)))
            .or_else(|| find(None, None))
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// The routes of one port, for one kind of clients.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// HTTPRoutes' matches, the one that is asked first in front.
    pub http: Vec<RouteEntry>,
    /// GRPCRoutes' matches, likewise; asked before `http`, of gRPC requests alone.
    pub grpc: Vec<RouteEntry>,
    /// TLSRoutes' host names, likewise; of connections that begin with a TLS ClientHello.
    pub tls: Vec<RouteEntry>,
    /// TCPRoutes: the oldest one's first rule.
    pub tcp: Option<Arc<ResolvedRule>>,
}

impl RouteTable {
    /// Every rule, once for each of its matches.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<ResolvedRule>> {
        let entries = self.http.iter().chain(&self.grpc).chain(&self.tls);
        entries.map(|entry| &entry.rule).chain(&self.tcp)
    }
}

/// One match of one rule.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    pub rule: Arc<ResolvedRule>,
    /// Into the rule's matches, or a TLSRoute's host names; `None` where there are none, which
    /// matches everything.
    pub matched: Option<usize>,
}

/// A rule with its route and with what its references came to.
#[derive(Debug)]
pub struct ResolvedRule {
    pub route: Arc<Route>,
    /// Into the route's rules.
    pub index: usize,
    /// In the order of the rule's backends: whether the reference may be followed.
    pub refused: Vec<Option<Arc<str>>>,
    /// The same for mirrors: the rule's, then those of each of its backends.
    pub mirrors_refused: Vec<Option<Arc<str>>>,
    /// Sum of the backends' weights.
    pub weights: u64,
    /// What the TrafficPolicies on this rule say together; the rule's own fields come before them.
    pub policy: Option<Arc<Policy>>,
    /// `namespace/name`, for metrics and logs.
    pub route_label: Arc<str>,
    /// The rule's name, else its number.
    pub rule_label: Arc<str>,
}

impl ResolvedRule {
    pub fn rule(&self) -> &Rule {
        &self.route.rules[self.index]
    }
}

impl RouteEntry {
    /// `None` matches everything.
    pub fn request_match(&self) -> Option<&RequestMatch> {
        self.rule.rule().matches.get(self.matched?)
    }
}
