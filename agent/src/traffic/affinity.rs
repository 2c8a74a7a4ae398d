//! `sessionPersistence` (Gateway API, GEP-1619): the requests of a session go to one endpoint.
//!
//! All there is to know of a session is in its token, which the client keeps in a cookie or a
//! header: any agent of the mesh reads what another one wrote, and none keeps a table. A token
//! names backend and endpoint by hashes, so that it shows no addresses. It is no secret and needs
//! no key: who makes one up only chooses among the endpoints that the rule would have given them.
//!
//! The app sees the cookie too, as behind Envoy.

use std::{
    str::{self, FromStr},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use thiserror::Error;

use super::hash::{FNV_OFFSET, fnv, fnv_address};
use crate::model::{
    names::ObjectName,
    route::{BackendRef, ResolvedRule, SessionBy, SessionPersistence},
    service::Endpoint,
};

/// A session's endpoint and age. As text: the four numbers in hexadecimal, with dots between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Hash of the backend's Service and port.
    pub backend: u64,
    /// Hash of the endpoint's address and port.
    pub endpoint: u64,
    /// Seconds since 1970 at which the session began.
    pub issued_unix: u64,
    /// Seconds since 1970 at which the token was written last.
    pub seen_unix: u64,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a session's token is four hexadecimal numbers with dots between")]
pub struct TokenError;

impl Token {
    /// Of a session that begins now.
    pub fn new(service: &ObjectName, port: u16, endpoint: Endpoint, now_unix: u64) -> Self {
        Self {
            backend: hash_backend(service, port),
            endpoint: hash_endpoint(endpoint),
            issued_unix: now_unix,
            seen_unix: now_unix,
        }
    }

    /// A clock behind that of the token's writer makes it new, not old.
    fn is_expired(&self, session: &SessionPersistence, now_unix: u64) -> bool {
        let since = |unix| Duration::from_secs(now_unix.saturating_sub(unix));
        let (age, idle) = (since(self.issued_unix), since(self.seen_unix));
        session
            .absolute_timeout
            .is_some_and(|timeout| age >= timeout)
            || session.idle_timeout.is_some_and(|timeout| idle > timeout)
    }
}

/// The request's token; `None` where it has none, or where the session is over.
pub fn read(session: &SessionPersistence, headers: &HeaderMap, now_unix: u64) -> Option<Token> {
    let valid = |text: &str| {
        let token: Token = text.parse().ok()?;
        (!token.is_expired(session, now_unix)).then_some(token)
    };
    match session.by {
        SessionBy::Cookie { .. } => headers
            .get_all(COOKIE)
            .iter()
            .flat_map(|line| cookies(line.as_bytes()))
            .filter(|(name, _)| *name == &*session.name)
            .find_map(|(_, value)| valid(value)),
        SessionBy::Header => headers
            .get_all(&*session.name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .find_map(valid),
    }
}

/// Names and values of a `Cookie` (RFC 6265 §4.2.1), without the quotes of the latter. Each is read
/// for itself: browsers send what an app has set, and that may be no text.
pub(super) fn cookies(line: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    line.split(|byte| *byte == b';').filter_map(|pair| {
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        let value = value.trim();
        let unquoted = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        Some((name.trim(), unquoted.unwrap_or(value)))
    })
}

/// The token's backend among those of the rule. Weights do not count, not even zero: a session
/// stays where it is while a canary's weight changes (GEP-1619, "Traffic Splitting").
pub fn backend_of(token: &Token, rule: &ResolvedRule) -> Option<usize> {
    rule.rule().backends.iter().enumerate().position(|(at, backend)| {
        let refused = rule.refused.get(at).is_some_and(Option::is_some);
        !refused
            && matches!(&backend.backend, BackendRef::Service { name, port } if hash_backend(name, *port) == token.backend)
    })
}

/// The token's endpoint, if it is among `endpoints`.
pub fn endpoint_of(token: &Token, endpoints: &[Endpoint]) -> Option<Endpoint> {
    endpoints
        .iter()
        .copied()
        .find(|endpoint| hash_endpoint(*endpoint) == token.endpoint)
}

/// Whether the response must carry the token of the endpoint that was `used`, given the one that
/// was [`read`] of the request: a session begins or moves, or its idle timeout starts anew.
pub fn needs_write(
    session: &SessionPersistence,
    read: Option<&Token>,
    used: &Token,
    now_unix: u64,
) -> bool {
    read.is_none_or(|read| {
        (read.backend, read.endpoint) != (used.backend, used.endpoint)
            || session.idle_timeout.is_some() && now_unix > read.seen_unix
    })
}

/// The response's header that gives the client its token, as one that was seen `now`. `secure`: the
/// client came by TLS of its own. `None` only for a name that is none, which validation refuses.
///
/// The cookie holds for every path of the host, since a rewrite may hide from the client which
/// paths a rule has; two rules with sessions on one host need two names. `SameSite` is GEP-1619's.
pub fn write(
    session: &SessionPersistence,
    token: &Token,
    now_unix: u64,
    secure: bool,
) -> Option<(HeaderName, HeaderValue)> {
    let Token {
        backend,
        endpoint,
        issued_unix,
        ..
    } = token;
    let text = format!("{backend:x}.{endpoint:x}.{issued_unix:x}.{now_unix:x}");
    match session.by {
        SessionBy::Header => {
            let name = HeaderName::from_bytes(session.name.as_bytes()).ok()?;
            Some((name, HeaderValue::try_from(text).ok()?))
        }
        SessionBy::Cookie { permanent } => {
            let name = &session.name;
            let mut cookie = format!("{name}={text}; Path=/; HttpOnly; SameSite=Strict");
            if let Some(timeout) = session.absolute_timeout.filter(|_| permanent) {
                let age = now_unix.saturating_sub(*issued_unix);
                let left = timeout.as_secs().saturating_sub(age);
                cookie.push_str(&format!("; Max-Age={left}"));
            }
            if secure {
                cookie.push_str("; Secure");
            }
            Some((SET_COOKIE, HeaderValue::try_from(cookie).ok()?))
        }
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split('.').map(number);
        let mut next = || numbers.next().flatten().ok_or(TokenError);
        let token = Self {
            backend: next()?,
            endpoint: next()?,
            issued_unix: next()?,
            seen_unix: next()?,
        };
        match numbers.next() {
            None => Ok(token),
            Some(_) => Err(TokenError),
        }
    }
}

/// Unlike the parser of integers, without a sign.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

fn hash_backend(service: &ObjectName, port: u16) -> u64 {
    let hash = [&service.namespace, "/", &service.name]
        .iter()
        .fold(FNV_OFFSET, |hash, part| fnv(hash, part.as_bytes()));
    fnv(hash, &port.to_be_bytes())
}

fn hash_endpoint(endpoint: Endpoint) -> u64 {
    let hash = fnv_address(FNV_OFFSET, endpoint.address);
    fnv(hash, &endpoint.port.to_be_bytes())
}

#[cfg(test)]
mod tests;
