//! The order in which the matches of one port are asked.

use std::{cmp::Reverse, sync::Arc};

use crate::model::route::{
    RequestMatch, ResolvedRule, RouteEntry, RouteKind, RouteTable, grpc_precedence, http_precedence,
};

/// The table of `routes`, each of them as its rules.
pub(super) fn build<'a>(routes: impl Iterator<Item = &'a [Arc<ResolvedRule>]>) -> RouteTable {
    let mut routes: Vec<&[Arc<ResolvedRule>]> = routes.filter(|rules| !rules.is_empty()).collect();
    routes.sort_by_key(|rules| rules.first().map(|rule| rule.route.age()));
    let of_kind = |kind| {
        let rules = routes.iter().copied();
        rules.filter(move |rules| rules.first().is_some_and(|rule| rule.route.kind == kind))
    };
    RouteTable {
        http: requests(of_kind(RouteKind::Http), http_precedence),
        grpc: requests(of_kind(RouteKind::Grpc), grpc_precedence),
        tls: hostnames(of_kind(RouteKind::Tls)),
        tcp: of_kind(RouteKind::Tcp)
            .next()
            .and_then(|rules| rules.first())
            .cloned(),
    }
}

/// Most specific first. Among equals the routes keep their order, then the rules, then the
/// matches (Gateway API, `HTTPRouteRule.matches`): the sort is stable.
fn requests<'a, O: Ord>(
    routes: impl Iterator<Item = &'a [Arc<ResolvedRule>]>,
    precedence: impl Fn(Option<&RequestMatch>) -> O,
) -> Vec<RouteEntry> {
    let mut entries: Vec<RouteEntry> = routes
        .flatten()
        .flat_map(|rule| entries(rule, rule.rule().matches.len()))
        .collect();
    entries.sort_by_cached_key(|entry| precedence(entry.request_match()));
    entries
}

/// Exact names, then wildcards, then what has no name; the longer first.
fn hostnames<'a>(routes: impl Iterator<Item = &'a [Arc<ResolvedRule>]>) -> Vec<RouteEntry> {
    let mut entries: Vec<RouteEntry> = routes
        .filter_map(|rules| rules.first())
        .flat_map(|rule| entries(rule, rule.route.hostnames.len()))
        .collect();
    entries.sort_by_cached_key(|entry| {
        let hostname = entry
            .matched
            .and_then(|index| entry.rule.route.hostnames.get(index));
        Reverse(hostname.map(|hostname| (!hostname.starts_with("*."), hostname.len())))
    });
    entries
}

/// One entry for each of `count` matches, or the one that matches everything.
fn entries(rule: &Arc<ResolvedRule>, count: usize) -> impl Iterator<Item = RouteEntry> + use<> {
    let rule = Arc::clone(rule);
    (0..count.max(1)).map(move |index| RouteEntry {
        rule: Arc::clone(&rule),
        matched: (count > 0).then_some(index),
    })
}

/// Whether both tables have the same rules, as allocations, in the same order.
pub(super) fn is_same(a: &RouteTable, b: &RouteTable) -> bool {
    let same = |a: &[RouteEntry], b: &[RouteEntry]| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| Arc::ptr_eq(&a.rule, &b.rule) && a.matched == b.matched)
    };
    let same_tcp = match (&a.tcp, &b.tcp) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    same_tcp && same(&a.http, &b.http) && same(&a.grpc, &b.grpc) && same(&a.tls, &b.tls)
}
