use super::{assert_errors, errors, resource};
use crate::model::{
    pod::{MeshLabel, NetnsRef, Pod},
    resource::Resource,
};

/// A pod with these fields beside its kind; `metadata` must name it.
fn pod(fields: &str) -> Pod {
    match resource(&format!("{{apiVersion: v1, kind: Pod, {fields}}}")) {
        Resource::Pod(pod) => Pod::clone(&pod),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_pod_of_the_documentation() {
    let yaml = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {app: web, weir.dev/mesh: enabled}
  annotations: {weir.dev/netns: /run/netns/web-1}   # or weir.dev/pid: "1234"
spec: {nodeName: n2, serviceAccountName: web, containers: [{name: app, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.9.0.2, podIPs: [{ip: 10.9.0.2}]}
"#;
    let Resource::Pod(pod) = resource(yaml) else {
        panic!()
    };
    assert_eq!(pod.name.to_string(), "shop/web-1");
    assert_eq!(
        (&*pod.uid, &*pod.node, &*pod.service_account),
        ("shop/web-1", "n2", "web")
    );
    assert_eq!(pod.ips, ["10.9.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(pod.mesh, Some(MeshLabel::Enabled));
    assert_eq!(pod.netns, Some(NetnsRef::Path("/run/netns/web-1".into())));
    assert_eq!(pod.labels.get("app").map(|app| &**app), Some("web"));
    assert_eq!(&*pod.workload_name, "web-1");
    assert!(!pod.host_network && !pod.finished && !pod.foreign_sidecar);
}

#[test]
fn a_pods_defaults() {
    let pod = pod(
        "metadata: {name: a, uid: '1234', creationTimestamp: null, managedFields: [{manager: x}]}, unknown: [1]",
    );
    assert_eq!(
        (&*pod.uid, &*pod.node, &*pod.service_account),
        ("1234", "", "default")
    );
    assert_eq!(
        (pod.mesh, pod.captured, pod.netns, pod.ips),
        (None, None, None, vec![])
    );
}

#[test]
fn addresses_are_taken_once_the_primary_first() {
    for (status, expected) in [
        ("{podIP: 10.0.0.1}", vec!["10.0.0.1"]),
        ("{podIP: ''}", vec![]),
        (
            "{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}",
            vec!["10.0.0.1", "fd00::1"],
        ),
        (
            "{podIPs: [{ip: '::ffff:10.0.0.1'}, {ip: 10.0.0.1}]}",
            vec!["10.0.0.1"],
        ),
    ] {
        let pod = pod(&format!("metadata: {{name: a}}, status: {status}"));
        let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, expected, "{status}");
    }
}

#[test]
fn a_sidecar_is_one_that_runs_beside_the_app() {
    for (spec, foreign) in [
        ("{containers: [{name: app}]}", false),
        ("{containers: [{name: app}, {name: istio-proxy}]}", true),
        ("{containers: [{name: linkerd-proxy}]}", true),
        (
            "{initContainers: [{name: istio-proxy, restartPolicy: Always}]}",
            true,
        ),
        ("{initContainers: [{name: istio-proxy}]}", false),
        ("{initContainers: [{name: istio-init}]}", false),
    ] {
        assert_eq!(
            pod(&format!("metadata: {{name: a}}, spec: {spec}")).foreign_sidecar,
            foreign,
            "{spec}"
        );
    }
}

#[test]
fn a_workload_is_named_by_its_owner() {
    let owner = |kind: &str, name: &str| {
        format!("ownerReferences: [{{kind: {kind}, name: {name}, controller: true}}]")
    };
    for (metadata, expected) in [
        (String::new(), "pod"),
        (owner("ReplicaSet", "web-7d4b9c6f5"), "web"),
        (
            format!(
                "labels: {{pod-template-hash: '12345'}}, {}",
                owner("ReplicaSet", "web-api-12345")
            ),
            "web-api",
        ),
        (
            format!(
                "labels: {{pod-template-hash: '12345'}}, {}",
                owner("ReplicaSet", "web-api")
            ),
            "web-api",
        ),
        (owner("ReplicaSet", "web-frontend"), "web-frontend"),
        (owner("StatefulSet", "db"), "db"),
        (owner("Job", "report-28391234"), "report"),
        (owner("Job", "report-7"), "report-7"),
        (
            "ownerReferences: [{kind: Node, name: n1}]".to_owned(),
            "pod",
        ),
    ] {
        let pod = pod(&format!("metadata: {{name: pod, {metadata}}}"));
        assert_eq!(&*pod.workload_name, expected, "{metadata}");
    }
}

#[test]
fn annotations_of_a_pod() {
    let pod = pod(
        "metadata: {name: a, annotations: {weir.dev/skip-inbound-ports: ' 80,443 ', weir.dev/skip-outbound-ports: '', \
         weir.dev/skip-outbound-cidrs: '10.1.2.3/8,192.0.2.1,fd00::/8', weir.dev/pid: '12', weir.dev/captured: 'false'}}",
    );
    assert_eq!(
        (pod.skip.inbound_ports, pod.skip.outbound_ports),
        (vec![80, 443], vec![])
    );
    let cidrs: Vec<String> = pod
        .skip
        .outbound_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(cidrs, ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
    assert_eq!(
        (pod.netns, pod.captured),
        (Some(NetnsRef::Pid(12)), Some(false))
    );
}

#[test]
fn ambient_pods_count_as_captured() {
    for (annotations, captured) in [
        ("ambient.istio.io/redirection: enabled", Some(true)),
        ("ambient.istio.io/redirection: disabled", None),
        (
            "ambient.istio.io/redirection: enabled, weir.dev/captured: 'false'",
            Some(false),
        ),
    ] {
        let pod = pod(&format!(
            "metadata: {{name: a, annotations: {{{annotations}}}}}"
        ));
        assert_eq!(pod.captured, captured, "{annotations}");
    }
}

#[test]
fn a_pods_weight_is_an_annotation() {
    for (annotations, weight) in [
        ("{}", None),
        ("{weir.dev/weight: '0'}", Some(0)),
        ("{weir.dev/weight: '10000'}", Some(10_000)),
    ] {
        let pod = pod(&format!(
            "metadata: {{name: a, annotations: {annotations}}}"
        ));
        assert_eq!(pod.weight, weight, "{annotations}");
    }
}

#[test]
fn a_finished_pod_is_known_by_its_phase() {
    for (phase, finished) in [
        ("Pending", false),
        ("Running", false),
        ("Succeeded", true),
        ("Failed", true),
    ] {
        assert_eq!(
            pod(&format!(
                "metadata: {{name: a}}, status: {{phase: {phase}}}"
            ))
            .finished,
            finished
        );
    }
}

#[test]
fn what_is_wrong_with_a_pod() {
    const POD: &str = "apiVersion: v1, kind: Pod";
    let annotated = |annotation: &str| {
        format!("{{{POD}, metadata: {{name: a, annotations: {{{annotation}}}}}}}")
    };
    let cases = [
        (
            format!("{{{POD}, metadata: {{name: a, labels: {{weir.dev/mesh: 'on'}}}}}}"),
            "metadata.labels[weir.dev/mesh]: \"on\" is not one of enabled, disabled",
        ),
        (
            format!("{{{POD}, metadata: {{name: a, labels: {{app: 1}}}}}}"),
            "metadata.labels.app: invalid type: integer `1`",
        ),
        (
            format!("{{{POD}, metadata: {{name: a}}, spec: {{containers: {{}}}}}}"),
            "spec.containers: invalid type: map",
        ),
        (
            format!("{{{POD}, metadata: {{name: a}}, spec: {{containers: [{{name: a}}, {{}}]}}}}"),
            "spec.containers[1]: missing field `name`",
        ),
        (
            format!("{{{POD}, metadata: {{name: a}}, spec: {{serviceAccountName: A/B}}}}"),
            "spec.serviceAccountName: \"A/B\"",
        ),
        (
            format!(
                "{{{POD}, metadata: {{name: a}}, status: {{podIPs: [{{ip: 10.0.0.1}}, {{ip: x}}]}}}}"
            ),
            "status.podIPs[1].ip: \"x\" is not an IP",
        ),
        (
            format!("{{{POD}, metadata: {{name: a}}, status: {{podIP: 0.0.0.0}}}}"),
            "status.podIP: ",
        ),
        (
            format!("{{{POD}, metadata: {{name: a}}, status: {{podIP: 224.0.0.1}}}}"),
            "status.podIP: ",
        ),
        (
            annotated("weir.dev/skip-inbound-ports: 80"),
            "metadata.annotations[weir.dev/skip-inbound-ports]: invalid type",
        ),
        (
            annotated("weir.dev/skip-inbound-ports: '80,x'"),
            "metadata.annotations[weir.dev/skip-inbound-ports]: \"x\" is not a port",
        ),
        (
            annotated("weir.dev/skip-inbound-ports: '80,'"),
            "metadata.annotations[weir.dev/skip-inbound-ports]: \"\" is not a port",
        ),
        (
            annotated("weir.dev/skip-outbound-ports: '0'"),
            "metadata.annotations[weir.dev/skip-outbound-ports]: \"0\"",
        ),
        (
            annotated("weir.dev/skip-outbound-ports: '65536'"),
            "metadata.annotations[weir.dev/skip-outbound-ports]: \"65536\"",
        ),
        (
            annotated("weir.dev/skip-outbound-cidrs: 10.0.0.0/33"),
            "metadata.annotations[weir.dev/skip-outbound-cidrs]: \"10.0.0.0/33\"",
        ),
        (
            annotated("weir.dev/netns: run/netns/a"),
            "metadata.annotations[weir.dev/netns]: \"run/netns/a\" is not an absolute path",
        ),
        (
            annotated("weir.dev/pid: '-1'"),
            "metadata.annotations[weir.dev/pid]: \"-1\" is not a process id",
        ),
        (
            annotated("weir.dev/weight: '10001'"),
            "metadata.annotations[weir.dev/weight]: \"10001\" is not a weight: a whole number from 0 to 10000",
        ),
        (
            annotated("weir.dev/weight: '-1'"),
            "metadata.annotations[weir.dev/weight]: \"-1\" is not a weight",
        ),
        (
            annotated("weir.dev/weight: '+1'"),
            "metadata.annotations[weir.dev/weight]: \"+1\" is not a weight",
        ),
        (
            annotated("weir.dev/weight: ''"),
            "metadata.annotations[weir.dev/weight]: \"\" is not a weight",
        ),
        (
            annotated("weir.dev/captured: perhaps"),
            "metadata.annotations[weir.dev/captured]: \"perhaps\"",
        ),
    ];
    assert_errors(
        &cases
            .iter()
            .map(|(yaml, expected)| (yaml.as_str(), *expected))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let errors = errors(
        "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {weir.dev/mesh: x}, \
         annotations: {weir.dev/skip-inbound-ports: 'a,b'}}, status: {podIP: x}}",
    );
    assert_eq!(errors.len(), 4, "{errors:?}");
}
