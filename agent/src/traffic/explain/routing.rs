//! Which routes are asked, in which order, and what each says.

use std::{ptr, sync::Arc};

use serde::Serialize;

use crate::{
    model::route::{
        PathMatch, RequestMatch, ResolvedRule, RouteEntry, RouteTable, ServiceRoutes, TextMatch,
    },
    traffic::{matching, request::RequestView},
};

/// The table that decides, entry by entry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Routing {
    /// Whose routes they are.
    pub table: String,
    pub entries: Vec<Entry>,
}

/// One match of one rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `HTTPRoute shop/web`
    pub route: String,
    /// Its name, else its number.
    pub rule: String,
    /// What it is for.
    pub wants: String,
    pub verdict: Verdict,
    /// Why it was not taken.
    pub why_not: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    Taken,
    Mismatch,
    /// It would match as well, but another one comes first.
    Later,
}

impl Routing {
    pub(super) fn http(
        routes: Option<&ServiceRoutes>,
        table: &Arc<RouteTable>,
        request: &RequestView<'_>,
        taken: Option<&RouteEntry>,
    ) -> Self {
        let grpc = table.grpc.iter().map(|entry| (entry, !request.grpc));
        let http = table.http.iter().map(|entry| (entry, false));
        let entries = grpc.chain(http).map(|(entry, not_asked)| {
            let mismatch = matching::matches(entry.request_match(), request).err();
            let why_not = match not_asked {
                true => Some("the request is no gRPC: its content-type says otherwise".to_owned()),
                false => mismatch.map(|mismatch| mismatch.to_string()),
            };
            let wants = wants(entry.request_match());
            let is_taken = taken.is_some_and(|taken| ptr::eq(taken, entry));
            Entry::new(&entry.rule, wants, is_taken, why_not)
        });
        Self {
            entries: entries.collect(),
            table: whose(routes, table),
        }
    }

    /// TLSRoutes, of which `taken` is the rule of the first that names the host.
    pub(super) fn tls(
        entries: &[RouteEntry],
        sni: Option<&str>,
        taken: Option<&Arc<ResolvedRule>>,
    ) -> Self {
        let mut taken = taken;
        let told = entries.iter().map(|entry| {
            let hostname = entry.matched.and_then(|index| {
                let hostnames = &entry.rule.route.hostnames;
                hostnames.get(index).map(|name| &**name)
            });
            let wants = match hostname {
                Some(hostname) => format!("server name {hostname}"),
                None => "everything".to_owned(),
            };
            let named = matching::names_host(entry, sni);
            let is_taken = named
                && taken
                    .take_if(|rule| Arc::ptr_eq(rule, &entry.rule))
                    .is_some();
            let why_not = (!named).then(|| match sni {
                Some(sni) => format!("server name is {sni}"),
                None => "the client names no server".to_owned(),
            });
            Entry::new(&entry.rule, wants, is_taken, why_not)
        });
        Self {
            entries: told.collect(),
            table: "TLSRoutes".to_owned(),
        }
    }

    /// The one rule of a TCPRoute.
    pub(super) fn tcp(rule: &ResolvedRule) -> Self {
        let entry = Entry::new(rule, "everything".to_owned(), true, None);
        Self {
            entries: vec![entry],
            table: "TCPRoutes: the oldest one's first rule".to_owned(),
        }
    }
}

impl Entry {
    fn new(rule: &ResolvedRule, wants: String, is_taken: bool, why_not: Option<String>) -> Self {
        let (verdict, why_not) = match (is_taken, why_not) {
            (true, _) => (Verdict::Taken, None),
            (false, Some(why)) => (Verdict::Mismatch, Some(why)),
            (false, None) => {
                let why = "matches as well, but comes after the one that is taken";
                (Verdict::Later, Some(why.to_owned()))
            }
        };
        Self {
            route: format!("{} {}", rule.route.kind.as_str(), rule.route.name),
            rule: rule.rule_label.to_string(),
            wants,
            verdict,
            why_not,
        }
    }
}

fn whose(routes: Option<&ServiceRoutes>, table: &Arc<RouteTable>) -> String {
    let found = routes.and_then(|routes| {
        let mut tables = routes.tables().iter();
        tables.find(|(_, _, one)| Arc::ptr_eq(one, table))
    });
    let Some((clients, port, _)) = found else {
        return "routes".to_owned();
    };
    let port = match port {
        Some(port) => format!("port {port}"),
        None => "every port without routes of its own".to_owned(),
    };
    match clients {
        Some(namespace) => format!(
            "consumer routes of namespace {namespace}, which replace the producer's for its clients; {port}"
        ),
        None => format!("producer routes, for clients of every namespace; {port}"),
    }
}

/// A match in words.
fn wants(wanted: Option<&RequestMatch>) -> String {
    let Some(wanted) = wanted else {
        return "everything".to_owned();
    };
    let mut parts = Vec::new();
    parts.extend(wanted.path.as_ref().map(path));
    parts.extend(
        wanted
            .method
            .as_ref()
            .map(|method| format!("method {method}")),
    );
    let headers = wanted.headers.iter();
    parts.extend(headers.map(|(name, value)| format!("header {name} {}", text(value))));
    let query = wanted.query.iter();
    parts.extend(query.map(|(name, value)| format!("query {name} {}", text(value))));
    match parts.is_empty() {
        true => "everything".to_owned(),
        false => parts.join(", "),
    }
}

fn path(wanted: &PathMatch) -> String {
    match wanted {
        PathMatch::Exact(exact) => format!("path = {exact}"),
        PathMatch::Prefix(prefix) => format!("path below {prefix}"),
        PathMatch::Regex(pattern) => format!("path ~ {}", pattern.as_str()),
        PathMatch::Grpc { service, method } => {
            let part = |part: &Option<TextMatch>| part.as_ref().map_or("*".to_owned(), text);
            format!("gRPC service {}, method {}", part(service), part(method))
        }
    }
}

fn text(wanted: &TextMatch) -> String {
    match wanted {
        TextMatch::Exact(exact) => format!("= {exact:?}"),
        TextMatch::Regex(pattern) => format!("~ {}", pattern.as_str()),
    }
}
