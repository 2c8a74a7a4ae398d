mod cors;
mod filters;
mod grpc;
mod headers;
mod http;
mod l4;
mod rules;

use std::sync::Arc;

use super::{assert_errors, errors, parse, resource};
use crate::model::{resource::Resource, route::Route};

/// Attached to the Service `web` of the route's own namespace, `shop`.
fn yaml(kind: &str, spec: &str) -> String {
    let separator = if spec.is_empty() { "" } else { ", " };
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{{group: '', kind: Service, name: web}}]{separator}{spec}}}}}"
    )
}

fn route(yaml: &str) -> Arc<Route> {
    match resource(yaml) {
        Resource::Route(route) => route,
        other => panic!("{other:?}"),
    }
}

/// Table: what stands in the spec of a route of `kind`, and how its only error begins.
fn assert_spec_errors(kind: &str, table: &[(&str, &str)]) {
    for (spec, expected) in table {
        assert_errors(&[(&yaml(kind, spec), expected)]);
    }
}
