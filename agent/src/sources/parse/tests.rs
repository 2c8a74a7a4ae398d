mod own_kinds;
mod pods;
mod routes;
mod services;
mod traffic_policy;

use serde_json::Value;

use super::{FieldError, Manifest, Rejected, Strings, items, manifest};
use crate::model::resource::Resource;

fn value(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

fn parse(yaml: &str) -> Result<Manifest, Box<Rejected>> {
    manifest(&value(yaml), &mut Strings::default())
}

fn resource(yaml: &str) -> Resource {
    match parse(yaml) {
        Ok(Manifest::Object(key, resource)) => {
            assert!(!key.name.name.is_empty());
            resource
        }
        other => panic!("{yaml}: {other:?}"),
    }
}

/// `path: reason` of everything that is wrong.
fn errors(yaml: &str) -> Vec<String> {
    let rejected = parse(yaml).expect_err(yaml);
    rejected
        .errors
        .iter()
        .map(|FieldError { path, reason }| format!("{path}: {reason}"))
        .collect()
}

/// Table: a manifest, and how its only error begins.
fn assert_errors(table: &[(&str, &str)]) {
    for (yaml, expected) in table {
        let errors = errors(yaml);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{yaml}\n{errors:?}\n{expected}"
        );
    }
}

#[test]
fn kinds_that_are_read_idle_or_foreign() {
    for (yaml, expected) in [
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
            "Object",
        ),
        (
            "{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {name: a}}",
            "Object",
        ),
        (
            "{apiVersion: weir.dev/v1alpha1, kind: PeerAuthentication, metadata: {name: a}}",
            "Object",
        ),
        (
            "{apiVersion: v1, kind: Node, metadata: {name: n.example.org}}",
            "Object",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}, spec: {}}",
            "Object",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: GRPCRoute, metadata: {name: a}, spec: {}}",
            "Object",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TCPRoute, metadata: {name: a}, spec: {}}",
            "Object",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1alpha3, kind: TLSRoute, metadata: {name: a}, spec: {}}",
            "Object",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: a}, spec: {from: [{group: '', kind: Secret, namespace: a}], to: [{group: '', kind: Secret}]}}",
            "Object",
        ),
        (
            "{apiVersion: weir.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: a}, spec: {targetRefs: [{group: '', kind: Service, name: a}]}}",
            "Object",
        ),
        (
            "{apiVersion: weir.dev/v1alpha1, kind: ExternalService, metadata: {name: a}}",
            "Idle(ExternalService",
        ),
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}",
            "Foreign",
        ),
        ("{apiVersion: v1, kind: ConfigMap}", "Foreign"),
        ("{apiVersion: v1, kind: Secret}", "Foreign"),
        ("{apiVersion: v1, kind: ServiceAccount}", "Foreign"),
        ("{apiVersion: batch/v1, kind: Job}", "Foreign"),
        (
            "{apiVersion: serving.knative.dev/v1, kind: Service}",
            "Foreign",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway}",
            "Foreign",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: UDPRoute}",
            "Foreign",
        ),
        (
            "{apiVersion: networking.istio.io/v1, kind: VirtualService}",
            "Foreign",
        ),
        ("{apiVersion: v1, kind: List, items: []}", "List"),
        ("{apiVersion: v1, kind: PodList, items: []}", "List"),
    ] {
        let parsed = format!("{:?}", parse(yaml).expect(yaml));
        assert!(parsed.starts_with(expected), "{yaml}: {parsed}");
    }
}

#[test]
fn a_slip_in_kind_or_api_version_is_an_error() {
    assert_errors(&[
        ("[]", ": a Kubernetes object is a mapping"),
        ("hello", ": a Kubernetes object is a mapping"),
        ("{kind: Pod}", "apiVersion: is required"),
        ("{apiVersion: v1}", "kind: is required"),
        (
            "{apiVersion: 1, kind: Pod}",
            "apiVersion: expected a string",
        ),
        (
            "{apiVersion: v1, kind: Sevice}",
            "kind: \"Sevice\" is not a kind of v1; did you mean \"Service\"?",
        ),
        (
            "{apiVersion: v1, kind: pod}",
            "kind: \"pod\" is not a kind of v1; did you mean \"Pod\"?",
        ),
        ("{apiVersion: v1, kind: Pods}", "kind: \"Pods\""),
        (
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlices}",
            "kind: ",
        ),
        (
            "{apiVersion: weir.dev/v1alpha1, kind: TraficPolicy}",
            "kind: \"TraficPolicy\" is not a kind of weir.dev/v1alpha1",
        ),
        (
            "{apiVersion: security.istio.io/v1, kind: Anything}",
            "kind: \"Anything\"",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: HttpRoute}",
            "kind: \"HttpRoute\"",
        ),
        (
            "{apiVersion: v2, kind: Pod}",
            "apiVersion: Pod is not read in \"v2\"; write \"v1\"",
        ),
        (
            "{apiVersion: v1, kind: EndpointSlice}",
            "apiVersion: EndpointSlice is not read in \"v1\"; write \"discovery.k8s.io/v1\"",
        ),
        (
            "{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice}",
            "apiVersion: ",
        ),
        (
            "{apiVersion: security.istio.oi/v1, kind: PeerAuthentication}",
            "apiVersion: ",
        ),
        (
            "{apiVersion: weir.dev/v1, kind: PeerAuthentication}",
            "apiVersion: PeerAuthentication is not read in \"weir.dev/v1\"",
        ),
        (
            "{apiVersion: weir.dev/v1alpha1, kind: TrafficPolicy}",
            "metadata.name: is required",
        ),
    ]);
}

#[test]
fn names_are_dns_names() {
    assert_errors(&[
        ("{apiVersion: v1, kind: Pod}", "metadata.name: is required"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: ''}}",
            "metadata.name: is required",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: 7}}",
            "metadata.name: expected a string; put it in quotes",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: Web}}",
            "metadata.name: \"Web\" is not a name",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: a.b}}",
            "metadata.namespace: \"a.b\" is not a name",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: ../b}}",
            "metadata.namespace: ",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a.b}}",
            "metadata.name: \"a.b\" is not a name",
        ),
    ]);
    let Ok(Manifest::Object(key, _)) = parse("{apiVersion: v1, kind: Pod, metadata: {name: a.b}}")
    else {
        panic!("a pod's name may have dots");
    };
    assert_eq!(key.name.to_string(), "default/a.b");
}

#[test]
fn a_typed_lists_items_are_of_its_kind() {
    let list = value(
        "{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}}, {metadata: {name: b}}]}",
    );
    let names: Vec<String> = items(&list)
        .unwrap()
        .map(|item| match manifest(&item, &mut Strings::default()) {
            Ok(Manifest::Object(key, _)) => format!("{:?} {}", key.kind, key.name),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["Pod default/a", "Pod default/b"]);
    assert!(items(&value("{apiVersion: v1, kind: List, items: {a: b}}")).is_err());
    assert_eq!(
        items(&value("{apiVersion: v1, kind: List}"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn equal_strings_share_one_allocation() {
    let mut strings = Strings::default();
    let pod = |strings: &mut Strings, name: &str| {
        let yaml = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: web}}}}}}"
        );
        match manifest(&value(&yaml), strings) {
            Ok(Manifest::Object(_, Resource::Pod(pod))) => pod,
            other => panic!("{other:?}"),
        }
    };
    let (a, b) = (pod(&mut strings, "a"), pod(&mut strings, "b"));
    assert!(std::sync::Arc::ptr_eq(&a.name.namespace, &b.name.namespace));
    assert!(std::ptr::eq(
        a.labels.get("app").unwrap(),
        b.labels.get("app").unwrap()
    ));
}
