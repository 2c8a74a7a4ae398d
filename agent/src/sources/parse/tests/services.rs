use super::{Manifest, assert_errors, parse, resource};
use crate::model::{pod::MeshLabel, resource::Resource, traffic_policy::Locality};

#[test]
fn services() {
    for (spec, vips, ports) in [
        (
            "{clusterIP: 10.96.0.1, ports: [{port: 80}]}",
            vec!["10.96.0.1"],
            vec![(80, "", None)],
        ),
        (
            "{clusterIP: None, clusterIPs: [None], ports: [{port: 80, name: http}]}",
            vec![],
            vec![(80, "http", None)],
        ),
        (
            "{type: ExternalName, externalName: example.org}",
            vec![],
            vec![],
        ),
        (
            "{clusterIPs: [10.96.0.1, 'fd00::1'], clusterIP: 10.96.0.1}",
            vec!["10.96.0.1", "fd00::1"],
            vec![],
        ),
        (
            "{ports: [{port: 80, name: a, appProtocol: http}, {port: 53, name: b, protocol: UDP}, {port: 53, name: c, protocol: TCP}]}",
            vec![],
            vec![(80, "a", Some("http")), (53, "c", None)],
        ),
    ] {
        let yaml =
            format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {spec}}}");
        let Resource::Service(service) = resource(&yaml) else {
            panic!()
        };
        let found: Vec<String> = service.vips.iter().map(ToString::to_string).collect();
        assert_eq!(found, vips, "{spec}");
        let found: Vec<_> = service
            .ports
            .iter()
            .map(|p| (p.port, &*p.name, p.app_protocol.as_deref()))
            .collect();
        assert_eq!(found, ports, "{spec}");
    }
}

#[test]
fn which_endpoints_a_service_prefers() {
    for (spec, distribution, node_local) in [
        ("{}", Locality::None, false),
        (
            "{trafficDistribution: PreferClose}",
            Locality::PreferZone,
            false,
        ),
        (
            "{trafficDistribution: PreferSameZone}",
            Locality::PreferZone,
            false,
        ),
        (
            "{trafficDistribution: PreferSameNode}",
            Locality::PreferNode,
            false,
        ),
        (
            "{trafficDistribution: PreferSameRack}",
            Locality::None,
            false,
        ),
        ("{internalTrafficPolicy: Cluster}", Locality::None, false),
        ("{internalTrafficPolicy: Local}", Locality::None, true),
    ] {
        let yaml =
            format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {spec}}}");
        let Resource::Service(service) = resource(&yaml) else {
            panic!()
        };
        let found = (service.distribution, service.node_local);
        assert_eq!(found, (distribution, node_local), "{spec}");
    }
}

#[test]
fn nodes() {
    for (labels, zone) in [
        ("{}", None),
        ("{topology.kubernetes.io/zone: ''}", None),
        ("{topology.kubernetes.io/zone: z1}", Some("z1")),
    ] {
        let yaml = format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: n.example, labels: {labels}}}}}"
        );
        let Resource::Node(node) = resource(&yaml) else {
            panic!()
        };
        assert_eq!((&*node.name, node.zone.as_deref()), ("n.example", zone));
    }
    // It has no namespace, whatever its author says.
    let Ok(Manifest::Object(key, _)) =
        parse("{apiVersion: v1, kind: Node, metadata: {name: n1, namespace: a}}")
    else {
        panic!()
    };
    assert_eq!(key.name.to_string(), "n1");
}

#[test]
fn what_is_wrong_with_a_service() {
    let cases = [
        (
            "{clusterIP: 10.96.0}",
            "spec.clusterIP: \"10.96.0\" is not an IP",
        ),
        ("{clusterIPs: [10.96.0.1, x]}", "spec.clusterIPs[1]: "),
        (
            "{ports: [{port: 0}]}",
            "spec.ports[0].port: \"0\" is not a port",
        ),
        (
            "{ports: [{port: 70000}]}",
            "spec.ports[0].port: \"70000\" is not a port",
        ),
        (
            "{ports: [{port: http}]}",
            "spec.ports[0].port: invalid type: string",
        ),
        (
            "{ports: [{name: a}]}",
            "spec.ports[0]: missing field `port`",
        ),
        (
            "{ports: [{port: 80, name: a}, {port: 81}]}",
            "spec.ports[1].name: is required",
        ),
        (
            "{ports: [{port: 80, name: a}, {port: 81, name: a}]}",
            "spec.ports[1].name: \"a\" is there twice",
        ),
        (
            "{ports: [{port: 80, name: a}, {port: 80, name: b}]}",
            "spec.ports[1].port: \"80\" is there twice",
        ),
    ];
    for (spec, expected) in cases {
        let yaml =
            format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {spec}}}");
        assert_errors(&[(&yaml, expected)]);
    }
}

const SLICE: &str = "apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, \
                     metadata: {name: a, labels: {kubernetes.io/service-name: web}}";

#[test]
fn endpoint_slices() {
    let yaml = format!(
        "{{{SLICE}, addressType: IPv4, ports: [{{name: http, port: 8080}}, {{name: dns, port: 53, protocol: UDP}}, {{name: any}}], \
         endpoints: [{{addresses: [10.0.0.1, 10.0.0.2], nodeName: n1, zone: z}}, \
         {{addresses: [10.0.0.3], conditions: {{ready: false, serving: true, terminating: true}}, targetRef: {{kind: Pod}}}}]}}"
    );
    let Resource::EndpointSlice(slice) = resource(&yaml) else {
        panic!()
    };
    assert_eq!(&*slice.service, "web");
    assert_eq!(slice.ports, [("http".into(), 8080)]);
    let endpoints: Vec<_> = slice
        .endpoints
        .iter()
        .map(|e| {
            (
                e.address.to_string(),
                e.conditions.ready,
                e.conditions.serving,
                e.conditions.terminating,
                e.node.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        endpoints,
        [
            ("10.0.0.1".to_owned(), true, true, false, Some("n1")),
            ("10.0.0.3".to_owned(), false, true, true, None)
        ]
    );
    let names = resource(&format!(
        "{{{SLICE}, addressType: FQDN, endpoints: [{{addresses: [example.org]}}]}}"
    ));
    assert!(matches!(names, Resource::EndpointSlice(slice) if slice.endpoints.is_empty()));
}

#[test]
fn what_is_wrong_with_an_endpoint_slice() {
    let cases = [
        (
            "endpoints: [{addresses: []}]",
            "endpoints[0].addresses: is required",
        ),
        ("endpoints: [{}]", "endpoints[0]: missing field `addresses`"),
        (
            "endpoints: [{addresses: [x]}]",
            "endpoints[0].addresses[0]: \"x\" is not an IP",
        ),
        (
            "endpoints: [{addresses: [10.0.0.1], conditions: {ready: 'no'}}]",
            "endpoints[0].conditions.ready: invalid type",
        ),
        (
            "ports: [{name: a, port: -1}]",
            "ports[0].port: \"-1\" is not a port",
        ),
        (
            "ports: [{name: a, port: 1}, {name: a, port: 2}]",
            "ports[1].name: \"a\" is there twice",
        ),
    ];
    for (fields, expected) in cases {
        assert_errors(&[(&format!("{{{SLICE}, {fields}}}"), expected)]);
    }
    assert_errors(&[(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}}",
        "metadata.labels[kubernetes.io/service-name]: is required",
    )]);
}

#[test]
fn namespaces() {
    let namespace = |labels: &str| {
        resource(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {labels}}}}}"
        ))
    };
    for (labels, mesh) in [
        ("{}", None),
        ("null", None),
        ("{weir.dev/mesh: enabled}", Some(MeshLabel::Enabled)),
        ("{weir.dev/mesh: disabled}", Some(MeshLabel::Disabled)),
    ] {
        assert!(
            matches!(namespace(labels), Resource::Namespace(ns) if ns.mesh == mesh),
            "{labels}"
        );
    }
    assert_errors(&[(
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {weir.dev/mesh: enable}}}",
        "metadata.labels[weir.dev/mesh]: \"enable\" is not one of enabled, disabled",
    )]);
}
