//! `sessionPersistence` (GEP-1619).

use std::sync::Arc;

use serde::Deserialize;

use super::{field::FieldReason, path::Path, route::Reader};
use crate::model::route::{RouteKind, SessionBy, SessionPersistence};

const NAME_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SessionSpec<'a> {
    session_name: Option<&'a str>,
    absolute_timeout: Option<&'a str>,
    idle_timeout: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    #[serde(borrow)]
    cookie_config: Option<CookieConfig<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CookieConfig<'a> {
    lifetime_type: Option<&'a str>,
}

impl Reader<'_> {
    /// Of the rule `rule` of a route of `kind`.
    pub(super) fn session(
        &mut self,
        spec: Option<SessionSpec<'_>>,
        (kind, rule): (RouteKind, &str),
        at: Path<'_>,
    ) -> Option<SessionPersistence> {
        let spec = spec?;
        let absolute_timeout = self.duration(spec.absolute_timeout, at.key("absoluteTimeout"));
        let permanent = self.is_permanent(&spec, at);
        if permanent && spec.absolute_timeout.is_none() {
            self.push(at.key("absoluteTimeout"), FieldReason::Required);
        }
        let by = match spec.kind {
            None | Some("Cookie") => SessionBy::Cookie { permanent },
            Some("Header") => {
                if spec.cookie_config.is_some() {
                    let with = "type Header".to_owned();
                    self.push(at.key("cookieConfig"), FieldReason::NotTogether { with });
                }
                SessionBy::Header
            }
            Some(other) => {
                self.not_one_of(other, "Cookie, Header", at.key("type"));
                return None;
            }
        };
        Some(SessionPersistence {
            by,
            name: self.session_name(spec.session_name, (kind, rule), at.key("sessionName")),
            absolute_timeout,
            idle_timeout: self.duration(spec.idle_timeout, at.key("idleTimeout")),
        })
    }

    fn is_permanent(&mut self, spec: &SessionSpec<'_>, at: Path<'_>) -> bool {
        let config = spec.cookie_config.as_ref();
        match config.and_then(|config| config.lifetime_type) {
            None | Some("Session") => false,
            Some("Permanent") => true,
            Some(other) => {
                let at = at.key("cookieConfig");
                self.not_one_of(other, "Session, Permanent", at.key("lifetimeType"));
                false
            }
        }
    }

    /// The names of cookies are tokens, as those of headers are (RFC 6265, section 4.1.1).
    fn session_name(
        &mut self,
        name: Option<&str>,
        (kind, rule): (RouteKind, &str),
        at: Path<'_>,
    ) -> Arc<str> {
        let Some(name) = name else {
            let rule = format!("{}/{}/{rule}", kind.as_str(), self.name);
            return format!("weir-session-{:016x}", fnv1a(rule.as_bytes())).into();
        };
        if name.len() > NAME_BYTES_MAX {
            let bytes_max = NAME_BYTES_MAX;
            self.push(at, FieldReason::TooLong { bytes_max });
        } else {
            self.header_name(name, at);
        }
        self.strings.get(name)
    }
}

/// FNV-1a: every agent gives a rule's session the same name, whatever its version, and says no
/// names of the cluster to clients.
fn fnv1a(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}
