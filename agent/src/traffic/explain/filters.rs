//! What a rule does to a request and its answer, in words.

use std::time::Duration;

use http::HeaderValue;

use crate::model::route::{
    BackendRef, Cors, Filters, HeaderModifier, Mirror, Origin, PathModifier, Redirect,
    ResolvedRule, Rewrite, Scheme, SessionBy, SessionPersistence,
};

/// The rule's own, in the order of the pipeline.
pub(super) fn of_rule(resolved: &ResolvedRule) -> Vec<String> {
    let rule = resolved.rule();
    let mut told = Vec::new();
    let limited = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
    if let Some(limit) = limited(rule.timeouts.request) {
        told.push(format!("timeouts.request {}", duration(limit)));
    }
    if let Some(limit) = limited(rule.timeouts.backend_request) {
        told.push(format!("timeouts.backendRequest {}", duration(limit)));
    }
    told.extend(rule.session.as_ref().map(session));
    told.extend(of_filters(&rule.filters));
    told.extend(mirrors(&rule.filters.mirrors, &resolved.mirrors_refused));
    told
}

/// What one backend adds to it.
pub(super) fn of_backend(resolved: &ResolvedRule, index: usize) -> Vec<String> {
    let rule = resolved.rule();
    let Some(backend) = rule.backends.get(index) else {
        return Vec::new();
    };
    let before = rule.backends.iter().take(index);
    let before: usize = before.map(|backend| backend.filters.mirrors.len()).sum();
    let first = rule.filters.mirrors.len() + before;
    let refused = resolved.mirrors_refused.get(first..).unwrap_or_default();
    let mut told = of_filters(&backend.filters);
    told.extend(mirrors(&backend.filters.mirrors, refused));
    told
}

fn of_filters(filters: &Filters) -> Vec<String> {
    let mut told = Vec::new();
    told.extend(filters.cors.as_ref().map(cors));
    told.extend(filters.redirect.as_ref().map(redirect));
    told.extend(filters.rewrite.as_ref().map(rewrite));
    if let Some(modifier) = &filters.request_headers {
        told.extend(headers("request", modifier));
    }
    if let Some(modifier) = &filters.response_headers {
        told.extend(headers("response", modifier));
    }
    told
}

fn headers(of: &str, modifier: &HeaderModifier) -> Vec<String> {
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let HeaderModifier { set, add, remove } = modifier;
    let mut told: Vec<String> = remove
        .iter()
        .map(|name| format!("{of} header {name} is removed"))
        .collect();
    told.extend(
        set.iter()
            .map(|(name, to)| format!("{of} header {name} is set to {:?}", value(to))),
    );
    told.extend(
        add.iter()
            .map(|(name, to)| format!("{of} header {name} is added: {:?}", value(to))),
    );
    told
}

fn mirrors<'a>(
    mirrors: &'a [Mirror],
    refused: &'a [Option<std::sync::Arc<str>>],
) -> impl Iterator<Item = String> + 'a {
    mirrors.iter().enumerate().map(|(index, mirror)| {
        let to = match &mirror.backend {
            BackendRef::Service { name, port } => format!("{name}:{port}"),
            BackendRef::Invalid(why) => return format!("mirror: none, since {why}"),
        };
        match refused.get(index).and_then(Option::as_ref) {
            Some(why) => format!("mirror to {to}: none, since {why}"),
            None => format!(
                "mirror to {to}: {} of {} requests",
                mirror.numerator, mirror.denominator
            ),
        }
    })
}

fn session(session: &SessionPersistence) -> String {
    let by = match session.by {
        SessionBy::Cookie { .. } => "cookie",
        SessionBy::Header => "header",
    };
    format!("session kept by the {by} {}", session.name)
}

fn cors(cors: &Cors) -> String {
    let origins: Vec<String> = cors
        .allow_origins
        .iter()
        .map(|origin| match origin {
            Origin::Any => "*".to_owned(),
            Origin::Exact(exact) => exact.to_string(),
            Origin::Wildcard { before, after } => format!("{before}*{after}"),
        })
        .collect();
    format!("CORS for {}", origins.join(", "))
}

fn redirect(redirect: &Redirect) -> String {
    let mut parts = vec![format!("redirect {}", redirect.status.as_u16())];
    parts.extend(redirect.scheme.map(|scheme| {
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("scheme {scheme}")
    }));
    parts.extend(
        redirect
            .hostname
            .as_ref()
            .map(|host| format!("host {host}")),
    );
    parts.extend(redirect.port.map(|port| format!("port {port}")));
    parts.extend(redirect.path.as_ref().map(path));
    parts.join(", ")
}

fn rewrite(rewrite: &Rewrite) -> String {
    let host = rewrite.hostname.as_ref().map(|host| format!("host {host}"));
    let parts: Vec<String> = host
        .into_iter()
        .chain(rewrite.path.as_ref().map(path))
        .collect();
    format!("rewrite to {}", parts.join(", "))
}

fn path(modifier: &PathModifier) -> String {
    match modifier {
        PathModifier::Full(full) => format!("path {full}"),
        PathModifier::Prefix(prefix) => format!("prefix {prefix}"),
    }
}

fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
