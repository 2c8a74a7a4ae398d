//! `backendRefs` and what else names a backend.

use serde::Deserialize;

use super::{
    field::FieldReason,
    filters::{Filter, Level},
    path::Path,
    route::Reader,
};
use crate::model::{
    names::ObjectName,
    route::{Backend, BackendRef},
};

const BACKEND_REFS_MAX: usize = 16;
const WEIGHT_MAX: u32 = 1_000_000;
const NAME_BYTES_MAX: usize = 253;
const KIND_BYTES_MAX: usize = 63;

/// `backendRef` of a mirror.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reference<'a> {
    group: Option<&'a str>,
    kind: Option<&'a str>,
    name: &'a str,
    namespace: Option<&'a str>,
    port: Option<i64>,
}

/// `backendRefs[]`. Those of TCPRoutes and TLSRoutes have no filters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightedReference<'a> {
    group: Option<&'a str>,
    kind: Option<&'a str>,
    name: &'a str,
    namespace: Option<&'a str>,
    port: Option<i64>,
    weight: Option<i64>,
    #[serde(borrow)]
    filters: Option<Vec<Filter<'a>>>,
}

impl Reader<'_> {
    /// `filters` says which filters the backends may have.
    pub(super) fn backends(
        &mut self,
        references: Option<Vec<WeightedReference<'_>>>,
        filters: Option<Level>,
        at: Path<'_>,
    ) -> Vec<Backend> {
        let references = self.items(references, BACKEND_REFS_MAX, at);
        let mut backends = Vec::with_capacity(references.len());
        for (index, reference) in references.into_iter().enumerate() {
            let at = at.index(index);
            let target = Reference {
                group: reference.group,
                kind: reference.kind,
                name: reference.name,
                namespace: reference.namespace,
                port: reference.port,
            };
            let level = filters.unwrap_or(Level::Grpc);
            if filters.is_none() && reference.filters.is_some() {
                self.push(at.key("filters"), FieldReason::Unsupported);
            }
            backends.push(Backend {
                backend: self.backend(target, at),
                weight: self.weight(reference.weight, at.key("weight")),
                filters: self.filters(reference.filters, level, at.key("filters")),
            });
        }
        backends
    }

    /// What Weir cannot send to is not an error: its share is answered with 500 (Gateway API,
    /// `HTTPRouteRule.backendRefs`).
    pub(super) fn backend(&mut self, reference: Reference<'_>, at: Path<'_>) -> BackendRef {
        let group = reference.group.unwrap_or_default();
        let kind = reference.kind.unwrap_or("Service");
        self.text(reference.name, NAME_BYTES_MAX, at.key("name"));
        self.text(kind, KIND_BYTES_MAX, at.key("kind"));
        if group.len() > NAME_BYTES_MAX {
            let bytes_max = NAME_BYTES_MAX;
            self.push(at.key("group"), FieldReason::TooLong { bytes_max });
        }
        let namespace = self.namespace(reference.namespace, at.key("namespace"));
        let name = ObjectName::new(namespace, self.strings.get(reference.name));
        let port = reference
            .port
            .and_then(|port| self.port(port, at.key("port")));
        match (group, kind, port) {
            ("", "Service", Some(port)) => BackendRef::Service { name, port },
            ("", "Service", None) => {
                BackendRef::Invalid(format!("no port of Service {name} is named").into())
            }
            _ => BackendRef::Invalid(
                format!("{kind} of group {group:?} is not a kind of backend").into(),
            ),
        }
    }

    fn weight(&mut self, weight: Option<i64>, at: Path<'_>) -> u32 {
        self.whole(weight.unwrap_or(1), 0..=WEIGHT_MAX, at)
    }

    /// A number within `range`.
    pub(super) fn whole(
        &mut self,
        value: i64,
        range: std::ops::RangeInclusive<u32>,
        at: Path<'_>,
    ) -> u32 {
        match u32::try_from(value) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let (min, max) = range.into_inner();
                self.push(at, FieldReason::Range { value, min, max });
                min
            }
        }
    }
}
