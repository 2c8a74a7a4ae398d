//! Which apiVersion and kind is what, and which is a slip of the pen.

use serde_json::{Map, Value};

use super::{
    field::{FieldError, FieldReason},
    route::GATEWAY,
};
use crate::model::{resource::Kind, route::RouteKind};

/// Kinds of Weir's configuration that this version does not act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdleKind {
    ExternalService,
    AuthorizationPolicy,
    RequestAuthentication,
}

impl IdleKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::ExternalService => "ExternalService",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::RequestAuthentication => "RequestAuthentication",
        }
    }

    /// Whether its author expects it to protect something.
    pub fn protects(self) -> bool {
        matches!(
            self,
            Self::AuthorizationPolicy | Self::RequestAuthentication
        )
    }
}

pub(super) enum Class {
    Read(Kind),
    Idle(IdleKind),
    Foreign,
    List,
}

#[derive(Clone, Copy)]
enum Known {
    Read(Kind),
    Idle(IdleKind),
}

struct Entry {
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    known: Known,
}

const CORE: &str = "";
const DISCOVERY: &str = "discovery.k8s.io";
const ISTIO: &str = "security.istio.io";
const WEIR: &str = "weir.dev";

const ALPHA: &[&str] = &["v1alpha1"];
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1"];

/// The first version of each is the one to write.
#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    read(CORE, &["v1"], "Namespace", Kind::Namespace),
    read(CORE, &["v1"], "Pod", Kind::Pod),
    read(CORE, &["v1"], "Service", Kind::Service),
    read(DISCOVERY, &["v1"], "EndpointSlice", Kind::EndpointSlice),
    read(ISTIO, ISTIO_VERSIONS, "PeerAuthentication", Kind::PeerAuthentication),
    read(WEIR, ALPHA, "PeerAuthentication", Kind::PeerAuthentication),
    read(WEIR, ALPHA, "MeshConfig", Kind::MeshConfig),
    read(CORE, &["v1"], "Node", Kind::Node),
    read(GATEWAY, &["v1", "v1beta1"], "HTTPRoute", Kind::HttpRoute),
    read(GATEWAY, &["v1", "v1alpha2"], "GRPCRoute", Kind::GrpcRoute),
    read(GATEWAY, &["v1", "v1alpha2"], "TCPRoute", Kind::TcpRoute),
    read(GATEWAY, &["v1", "v1alpha3", "v1alpha2"], "TLSRoute", Kind::TlsRoute),
    read(GATEWAY, &["v1", "v1beta1"], "ReferenceGrant", Kind::ReferenceGrant),
    read(WEIR, ALPHA, "TrafficPolicy", Kind::TrafficPolicy),
    idle(WEIR, ALPHA, "ExternalService", IdleKind::ExternalService),
    idle(WEIR, ALPHA, "AuthorizationPolicy", IdleKind::AuthorizationPolicy),
    idle(WEIR, ALPHA, "RequestAuthentication", IdleKind::RequestAuthentication),
    idle(ISTIO, ISTIO_VERSIONS, "AuthorizationPolicy", IdleKind::AuthorizationPolicy),
    idle(ISTIO, ISTIO_VERSIONS, "RequestAuthentication", IdleKind::RequestAuthentication),
];

/// Kinds of others that look like a slip of the pen and are none.
const FOREIGN_LOOKALIKES: &[&str] = &["UDPRoute"];

const fn read(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    known: Kind,
) -> Entry {
    Entry {
        group,
        versions,
        kind,
        known: Known::Read(known),
    }
}

const fn idle(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    known: IdleKind,
) -> Entry {
    Entry {
        group,
        versions,
        kind,
        known: Known::Idle(known),
    }
}

impl Entry {
    fn api_version(&self) -> String {
        match self.group {
            CORE => self.versions[0].to_owned(),
            group => format!("{group}/{}", self.versions[0]),
        }
    }
}

pub(super) fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "Namespace",
        Kind::Pod => "Pod",
        Kind::Service => "Service",
        Kind::EndpointSlice => "EndpointSlice",
        Kind::PeerAuthentication => "PeerAuthentication",
        Kind::MeshConfig => "MeshConfig",
        Kind::HttpRoute => RouteKind::Http.as_str(),
        Kind::GrpcRoute => RouteKind::Grpc.as_str(),
        Kind::TcpRoute => RouteKind::Tcp.as_str(),
        Kind::TlsRoute => RouteKind::Tls.as_str(),
        Kind::ReferenceGrant => "ReferenceGrant",
        Kind::TrafficPolicy => "TrafficPolicy",
        Kind::Node => "Node",
    }
}

pub(super) fn classify(value: &Value) -> Result<Class, FieldError> {
    let object = value
        .as_object()
        .ok_or_else(|| error("", FieldReason::NotAnObject))?;
    let api_version = required(object, "apiVersion")?;
    let kind = required(object, "kind")?;
    let (group, version) = api_version.rsplit_once('/').unwrap_or((CORE, api_version));
    if let Some(entry) = ENTRIES
        .iter()
        .find(|entry| entry.group == group && entry.kind == kind)
    {
        if !entry.versions.contains(&version) {
            return Err(wrong_version(api_version, entry));
        }
        return Ok(match entry.known {
            Known::Read(kind) => Class::Read(kind),
            Known::Idle(kind) => Class::Idle(kind),
        });
    }
    if group == CORE && kind == "List" || item_entry(group, kind).is_some() {
        return Ok(Class::List);
    }
    slip(api_version, group, kind).map_or(Ok(Class::Foreign), Err)
}

/// `PodList` in `v1`: an entry's own list.
fn item_entry(group: &str, kind: &str) -> Option<&'static Entry> {
    let item = kind.strip_suffix("List")?;
    ENTRIES
        .iter()
        .find(|entry| entry.group == group && entry.kind == item)
}

pub(super) fn items(list: &Value) -> Result<impl Iterator<Item = Value>, FieldError> {
    let kind = list.get("kind").and_then(Value::as_str).unwrap_or_default();
    let api_version = list
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let item_kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
    let items = match list.get("items") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items.as_slice(),
        Some(_) => {
            return Err(error(
                "items",
                FieldReason::Shape("expected a sequence".to_owned()),
            ));
        }
    };
    Ok(items.iter().map(move |item| {
        let mut item = item.clone();
        if let (Some(kind), Some(object)) = (item_kind, item.as_object_mut()) {
            let mut default = |field: &str, value: &str| {
                object
                    .entry(field)
                    .or_insert_with(|| Value::String(value.to_owned()));
            };
            default("kind", kind);
            default("apiVersion", api_version);
        }
        item
    }))
}

/// Whether kind or apiVersion are probably meant as one of ours. A policy that is overlooked for
/// a letter protects nobody, so this errs on the side of asking.
fn slip(api_version: &str, group: &str, kind: &str) -> Option<FieldError> {
    let ours_alone = group == WEIR || group == ISTIO;
    if FOREIGN_LOOKALIKES.contains(&kind) && !ours_alone {
        return None;
    }
    let in_group = || ENTRIES.iter().filter(|entry| entry.group == group);
    let meant = in_group().min_by_key(|entry| distance(entry.kind, kind));
    if let Some(entry) = meant.filter(|entry| ours_alone || is_near(entry.kind, kind)) {
        let reason = FieldReason::Kind {
            value: kind.to_owned(),
            api_version: api_version.to_owned(),
            meant: entry.kind,
        };
        return Some(error("kind", reason));
    }
    // The right kind in the core group (a forgotten group), or in a group that is nearly ours.
    let is_meant =
        |entry: &&Entry| entry.kind == kind && (group == CORE || is_near(entry.group, group));
    let entry = ENTRIES.iter().rfind(is_meant)?;
    Some(wrong_version(api_version, entry))
}

fn wrong_version(api_version: &str, entry: &Entry) -> FieldError {
    let reason = FieldReason::ApiVersion {
        value: api_version.to_owned(),
        kind: entry.kind.to_owned(),
        meant: entry.api_version(),
    };
    error("apiVersion", reason)
}

fn is_near(ours: &str, theirs: &str) -> bool {
    let letters_max = if ours.len() < 6 { 1 } else { 2 };
    ours.eq_ignore_ascii_case(theirs) || distance(ours, theirs) <= letters_max
}

/// Levenshtein's, in bytes; far apart where the lengths are.
fn distance(a: &str, b: &str) -> usize {
    const NAME_BYTES_MAX: usize = 64;
    if b.len() > NAME_BYTES_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn required<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, FieldError> {
    match object.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::Null | Value::String(_)) => Err(error(field, FieldReason::Required)),
        Some(_) => Err(error(
            field,
            FieldReason::Shape("expected a string".to_owned()),
        )),
    }
}

fn error(path: &str, reason: FieldReason) -> FieldError {
    FieldError {
        path: path.to_owned(),
        reason,
    }
}
