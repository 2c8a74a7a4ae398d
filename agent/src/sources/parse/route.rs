//! What the route kinds of the Gateway API share: the object, `parentRefs`, names and host names.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    address,
    field::{Errors, FieldReason},
    meta::{self, Meta},
    path::Path,
    strings::Strings,
};
use crate::model::{
    duration,
    names::ObjectName,
    route::{ParentRef, Route, RouteKind, Rule},
};

/// `gateway.networking.k8s.io`
pub(super) const GATEWAY: &str = "gateway.networking.k8s.io";

// The bounds of the CRDs, Gateway API v1.7.
pub(super) const RULES_MAX: usize = 16;
const PARENT_REFS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 253;

/// Unknown fields are refused, as kubectl and the API server refuse them: a `header` in place of
/// `headers` would match everything.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    bound(deserialize = "S: Deserialize<'de>")
)]
struct Object<'a, S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(borrow)]
    metadata: Meta<'a>,
    spec: Option<S>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Parent<'a> {
    group: Option<&'a str>,
    kind: Option<&'a str>,
    namespace: Option<&'a str>,
    name: &'a str,
    section_name: Option<&'a str>,
    port: Option<i64>,
}

/// Reads one object of the Gateway API.
pub(super) struct Reader<'r> {
    pub(super) name: &'r ObjectName,
    pub(super) strings: &'r mut Strings,
    pub(super) errors: &'r mut Errors,
}

/// The parts of an object that the kinds do not read alike.
pub(super) struct Parts {
    pub(super) parents: Vec<ParentRef>,
    pub(super) hostnames: Vec<Arc<str>>,
    pub(super) rules: Vec<Rule>,
}

/// Reads a route whose spec is an `S`. A route that no Service is a parent of, such as one of an
/// ingress gateway, comes out without parents and rules, whatever else it says: it may use what
/// the mesh does not know.
pub(super) fn parse<'a, S: Deserialize<'a>>(
    kind: RouteKind,
    value: &'a Value,
    name: ObjectName,
    (strings, errors): (&mut Strings, &mut Errors),
    spec: impl FnOnce(&mut Reader<'_>, S, Path<'_>) -> Parts,
) -> Option<Route> {
    if !is_for_services(value) {
        return Some(Route {
            kind,
            name,
            created: None,
            parents: Vec::new(),
            hostnames: Vec::new(),
            rules: Vec::new(),
        });
    }
    let (created, shape) = object(value, errors)?;
    let mut reader = Reader {
        name: &name,
        strings,
        errors,
    };
    let parts = spec(&mut reader, shape, Path::root("spec"));
    Some(Route {
        kind,
        created,
        parents: parts.parents,
        hostnames: parts.hostnames,
        rules: parts.rules,
        name,
    })
}

/// Age and spec.
pub(super) fn object<'a, S: Deserialize<'a>>(
    value: &'a Value,
    errors: &mut Errors,
) -> Option<(Option<SystemTime>, S)> {
    let object: Object<'_, S> = errors.shape(value)?;
    let created = object.metadata.created(errors);
    if object.spec.is_none() {
        errors.push("spec", FieldReason::Required);
    }
    Some((created, object.spec?))
}

fn is_for_services(value: &Value) -> bool {
    let parents = value.get("spec").and_then(|spec| spec.get("parentRefs"));
    let is_service = |parent: &Value| parent.get("kind").and_then(Value::as_str) == Some("Service");
    match parents {
        Some(Value::Array(parents)) => parents.iter().any(is_service),
        // Of the wrong type: that is for serde to say. A spec that is missing, too.
        parents => value.get("spec").is_none_or(Value::is_null) || parents.is_some(),
    }
}

impl Reader<'_> {
    pub(super) fn push(&mut self, at: Path<'_>, reason: FieldReason) {
        self.errors.push(at, reason);
    }

    /// At most `max` items of a list.
    pub(super) fn items<T>(&mut self, items: Option<Vec<T>>, max: usize, at: Path<'_>) -> Vec<T> {
        let mut items = items.unwrap_or_default();
        if items.len() > max {
            self.push(at, FieldReason::TooMany { max });
            items.truncate(max);
        }
        items
    }

    /// A text of one to `bytes_max` bytes.
    pub(super) fn text(&mut self, text: &str, bytes_max: usize, at: Path<'_>) {
        if text.is_empty() {
            self.push(at, FieldReason::Required);
        } else if text.len() > bytes_max {
            self.push(at, FieldReason::TooLong { bytes_max });
        }
    }

    pub(super) fn not_one_of(&mut self, value: &str, allowed: &'static str, at: Path<'_>) {
        let value = value.to_owned();
        self.push(at, FieldReason::NotOneOf { value, allowed });
    }

    pub(super) fn twice(&mut self, value: impl Into<String>, at: Path<'_>) {
        let value = value.into();
        self.push(at, FieldReason::Twice { value });
    }

    pub(super) fn port(&mut self, port: i64, at: Path<'_>) -> Option<u16> {
        address::port(port, || at.into(), self.errors)
    }

    /// GEP-2257. `0s` is none.
    pub(super) fn duration(&mut self, text: Option<&str>, at: Path<'_>) -> Option<Duration> {
        self.limit(text, at).filter(|duration| !duration.is_zero())
    }

    /// The same, where zero is a word of its own: no limit, whatever others say.
    pub(super) fn limit(&mut self, text: Option<&str>, at: Path<'_>) -> Option<Duration> {
        match duration::parse(text?) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.push(at, FieldReason::Duration(error));
                None
            }
        }
    }

    /// The namespace that a reference names, else the route's own.
    pub(super) fn namespace(&mut self, namespace: Option<&str>, at: Path<'_>) -> Arc<str> {
        let Some(namespace) = namespace else {
            return Arc::clone(&self.name.namespace);
        };
        if let Err(reason) = meta::label(namespace) {
            self.push(at, reason);
        }
        self.strings.get(namespace)
    }

    /// A host name in lower case, never an address.
    pub(super) fn hostname(&mut self, hostname: &str, at: Path<'_>) {
        let is_address = hostname.parse::<std::net::IpAddr>().is_ok();
        let result = match meta::subdomain(hostname) {
            Ok(()) if is_address => Err(FieldReason::Hostname {
                value: hostname.to_owned(),
            }),
            result => result,
        };
        if let Err(reason) = result {
            self.push(at, reason);
        }
    }

    /// Host names, of which each may begin with `*.`.
    pub(super) fn hostnames(
        &mut self,
        hostnames: Option<Vec<&str>>,
        max: usize,
        at: Path<'_>,
    ) -> Vec<Arc<str>> {
        let hostnames = self.items(hostnames, max, at);
        for (index, hostname) in hostnames.iter().enumerate() {
            let at = at.index(index);
            self.hostname(hostname.strip_prefix("*.").unwrap_or(hostname), at);
        }
        hostnames
            .iter()
            .map(|hostname| self.strings.get(hostname))
            .collect()
    }

    /// Parents that are Services.
    pub(super) fn parents(
        &mut self,
        parents: Option<Vec<Parent<'_>>>,
        at: Path<'_>,
    ) -> Vec<ParentRef> {
        let mut taken: Vec<ParentRef> = Vec::new();
        for (index, parent) in self.items(parents, PARENT_REFS_MAX, at).iter().enumerate() {
            let at = at.index(index);
            let Some(parent) = self.parent(parent, at) else {
                continue;
            };
            // One of them would be everything that the other is: which one is meant?
            let clash = taken.iter().find(|other| {
                let whole = |parent: &ParentRef| parent.port.is_none() && parent.section.is_none();
                let same = (other.port, &other.section) == (parent.port, &parent.section);
                other.service == parent.service && (same || whole(other) || whole(&parent))
            });
            if let Some(other) = clash {
                self.twice(other.service.to_string(), at);
            }
            taken.push(parent);
        }
        taken
    }

    fn parent(&mut self, parent: &Parent<'_>, at: Path<'_>) -> Option<ParentRef> {
        if parent.kind != Some("Service") {
            return None;
        }
        match parent.group {
            Some("") => {}
            // The default is the Gateway API's group, which has no Services.
            None | Some(GATEWAY) => {
                let value = parent.group.unwrap_or(GATEWAY);
                self.not_one_of(value, "\"\" (the group of Services)", at.key("group"));
            }
            Some(_) => return None,
        }
        self.text(parent.name, NAME_BYTES_MAX, at.key("name"));
        if let Some(section) = parent.section_name {
            self.text(section, NAME_BYTES_MAX, at.key("sectionName"));
        }
        let namespace = self.namespace(parent.namespace, at.key("namespace"));
        Some(ParentRef {
            service: ObjectName::new(namespace, self.strings.get(parent.name)),
            port: parent.port.and_then(|port| self.port(port, at.key("port"))),
            section: parent.section_name.map(|section| self.strings.get(section)),
        })
    }

    /// `name` of a rule, which no earlier rule has.
    pub(super) fn rule_name(
        &mut self,
        name: Option<&str>,
        before: &[Rule],
        at: Path<'_>,
    ) -> Option<Arc<str>> {
        let name = name?;
        if let Err(reason) = meta::subdomain(name) {
            self.push(at, reason);
        }
        if before.iter().any(|rule| rule.name.as_deref() == Some(name)) {
            self.twice(name, at);
        }
        Some(self.strings.get(name))
    }
}
