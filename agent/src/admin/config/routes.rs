//! The routes in force: each service's tables, in the order in which they are asked.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use crate::model::{
    names::ObjectName,
    route::{
        BackendRef, Filters, PathMatch, RequestMatch, ResolvedRule, RouteEntry, RouteKind,
        RouteTable, ServiceRoutes, SessionBy, TextMatch,
    },
};

pub(super) fn service(name: &ObjectName, routes: &ServiceRoutes) -> Value {
    let tables = routes.tables().iter();
    json!({
        "service": name.to_string(),
        "tables": tables
            .map(|(clients, port, routes)| table((clients.as_deref(), *port), routes))
            .collect::<Value>(),
    })
}

/// `clientNamespace` and `port` are null where the table is for all others.
fn table((clients, port): (Option<&str>, Option<u16>), table: &RouteTable) -> Value {
    let entries = |entries: &[RouteEntry]| entries.iter().map(entry).collect::<Value>();
    json!({
        "clientNamespace": clients,
        "port": port,
        "http": entries(&table.http),
        "grpc": entries(&table.grpc),
        "tls": entries(&table.tls),
        "tcp": table.tcp.as_deref().map(rule),
    })
}

fn entry(entry: &RouteEntry) -> Value {
    let mut value = rule(&entry.rule);
    let matched = match entry.rule.route.kind {
        RouteKind::Tls => {
            let hostnames = &entry.rule.route.hostnames;
            let hostname = entry.matched.and_then(|index| hostnames.get(index));
            json!({ "sni": hostname.map(|hostname| &**hostname) })
        }
        _ => entry.request_match().map_or_else(|| json!({}), request),
    };
    if let Value::Object(fields) = &mut value {
        fields.insert("match".to_owned(), matched);
    }
    value
}

/// Only what the match says.
fn request(request: &RequestMatch) -> Value {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("path", request.path.as_ref().map(path));
    add("method", request.method.as_ref().map(|m| json!(m.as_str())));
    let headers = request.headers.iter();
    add(
        "headers",
        texts(headers.map(|(name, value)| (name.as_str(), value))),
    );
    let query = request.query.iter();
    add(
        "queryParams",
        texts(query.map(|(name, value)| (&**name, value))),
    );
    Value::Object(fields)
}

fn path(path: &PathMatch) -> Value {
    match path {
        PathMatch::Exact(path) => json!({ "exact": **path }),
        PathMatch::Prefix(path) => json!({ "pathPrefix": **path }),
        PathMatch::Regex(pattern) => json!({ "regularExpression": pattern.as_str() }),
        PathMatch::Grpc { service, method } => json!({
            "service": service.as_ref().map(text),
            "method": method.as_ref().map(text),
        }),
    }
}

fn text(text: &TextMatch) -> Value {
    match text {
        TextMatch::Exact(text) => json!({ "exact": **text }),
        TextMatch::Regex(pattern) => json!({ "regularExpression": pattern.as_str() }),
    }
}

fn texts<'a>(texts: impl Iterator<Item = (&'a str, &'a TextMatch)>) -> Option<Value> {
    let texts: Map<String, Value> = texts
        .map(|(name, value)| (name.to_owned(), text(value)))
        .collect();
    (!texts.is_empty()).then_some(Value::Object(texts))
}

fn rule(resolved: &ResolvedRule) -> Value {
    let rule = resolved.rule();
    let mut mirrors_refused = resolved.mirrors_refused.iter();
    let mirrors = mirrors(&rule.filters, &mut mirrors_refused);
    let backends = rule
        .backends
        .iter()
        .zip(&resolved.refused)
        .map(|(backend, refused)| {
            let mut value = reference(&backend.backend, refused.as_ref());
            if let Value::Object(fields) = &mut value {
                fields.insert("weight".to_owned(), json!(backend.weight));
                fields.insert("filters".to_owned(), filters(&backend.filters));
                let mirrors = self::mirrors(&backend.filters, &mut mirrors_refused);
                fields.insert("mirrors".to_owned(), mirrors);
            }
            value
        });
    json!({
        "route": *resolved.route_label,
        "rule": *resolved.rule_label,
        "filters": filters(&rule.filters),
        "backends": backends.collect::<Value>(),
        "mirrors": mirrors,
        "timeouts": {
            "request": milliseconds(rule.timeouts.request),
            "backendRequest": milliseconds(rule.timeouts.backend_request),
        },
        "session": rule.session.as_ref().map(|session| json!({
            "type": match session.by {
                SessionBy::Cookie { .. } => "Cookie",
                SessionBy::Header => "Header",
            },
            "name": *session.name,
        })),
    })
}

/// Where to, or why not.
fn reference(backend: &BackendRef, refused: Option<&Arc<str>>) -> Value {
    let (target, invalid) = match backend {
        BackendRef::Service { name, port } => (Some(format!("{name}:{port}")), None),
        BackendRef::Invalid(why) => (None, Some(why)),
    };
    let refused = refused.or(invalid).map(|why| &**why);
    json!({ "service": target, "refused": refused })
}

/// Takes as many of `refused` as there are mirrors.
fn mirrors<'a>(
    filters: &Filters,
    refused: &mut impl Iterator<Item = &'a Option<Arc<str>>>,
) -> Value {
    let mirrors = filters.mirrors.iter().zip(refused);
    mirrors
        .map(|(mirror, refused)| {
            let mut value = reference(&mirror.backend, refused.as_ref());
            if let Value::Object(fields) = &mut value {
                let share = format!("{}/{}", mirror.numerator, mirror.denominator);
                fields.insert("share".to_owned(), json!(share));
            }
            value
        })
        .collect()
}

/// The types of the filters, save for mirrors.
fn filters(filters: &Filters) -> Value {
    [
        ("RequestHeaderModifier", filters.request_headers.is_some()),
        ("ResponseHeaderModifier", filters.response_headers.is_some()),
        ("RequestRedirect", filters.redirect.is_some()),
        ("URLRewrite", filters.rewrite.is_some()),
        ("CORS", filters.cors.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

fn milliseconds(duration: Option<Duration>) -> Option<String> {
    duration.map(|duration| format!("{}ms", duration.as_millis()))
}

#[cfg(test)]
mod tests;
