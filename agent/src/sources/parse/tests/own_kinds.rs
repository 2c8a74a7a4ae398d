use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{assert_errors, parse, resource};
use crate::model::{
    mesh::{
        AccessLog, AccessLogField, AccessLogFields, AccessLogFormat, AccessLogMode, Collector,
        MeshConfig, OtlpProtocol, Share,
    },
    policy::{MtlsMode, PeerAuthentication},
    resource::Resource,
};

const GROUPS: [&str; 2] = ["security.istio.io/v1", "weir.dev/v1alpha1"];

fn yaml(group: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: {group}, kind: PeerAuthentication, metadata: {{name: a, namespace: shop}}, spec: {spec}}}"
    )
}

fn policy(yaml: &str) -> Arc<PeerAuthentication> {
    match resource(yaml) {
        Resource::PeerAuthentication(policy) => policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn peer_authentications_of_both_groups() {
    use MtlsMode::{Disable, Permissive, Strict};
    for group in GROUPS {
        for (spec, selected, mode, ports) in [
            ("null", false, None, vec![]),
            ("{}", false, None, vec![]),
            ("{mtls: {mode: STRICT}}", false, Some(Strict), vec![]),
            (
                "{mtls: {mode: PERMISSIVE}}",
                false,
                Some(Permissive),
                vec![],
            ),
            ("{mtls: {mode: DISABLE}}", false, Some(Disable), vec![]),
            ("{mtls: {mode: UNSET}}", false, None, vec![]),
            ("{mtls: {}}", false, None, vec![]),
            (
                "{selector: {}, mtls: {mode: STRICT}}",
                false,
                Some(Strict),
                vec![],
            ),
            ("{selector: {matchLabels: {}}}", false, None, vec![]),
            ("{selector: {matchLabels: {app: web}}}", true, None, vec![]),
            (
                "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: DISABLE}, '9090': {mode: UNSET}, 1: null}}",
                true,
                None,
                vec![(1, None), (8080, Some(Disable)), (9090, None)],
            ),
        ] {
            let policy = policy(&yaml(group, spec));
            assert_eq!(policy.selector.is_some(), selected, "{spec}");
            assert_eq!(policy.mode, mode, "{spec}");
            assert_eq!(
                policy.ports.clone().into_iter().collect::<Vec<_>>(),
                ports,
                "{spec}"
            );
        }
    }
}

#[test]
fn what_is_wrong_with_a_peer_authentication() {
    for (spec, expected) in [
        (
            "{mtls: {mode: strict}}",
            "spec.mtls.mode: \"strict\" is not one of STRICT, PERMISSIVE, DISABLE, UNSET",
        ),
        (
            "{mtls: {mod: STRICT}}",
            "spec.mtls.mod: unknown field `mod`",
        ),
        ("{mtls: STRICT}", "spec.mtls: invalid type"),
        // What YAML makes of the word.
        (
            "{mtls: {mode: on}}",
            "spec.mtls.mode: invalid type: boolean `true`, expected a string",
        ),
        ("{mode: STRICT}", "spec.mode: unknown field `mode`"),
        (
            "{selector: {matchLabel: {app: web}}}",
            "spec.selector.matchLabel: unknown field",
        ),
        (
            "{selector: {matchLabels: {app: 1}}}",
            "spec.selector.matchLabels.app: invalid type",
        ),
        (
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: OPEN}}}",
            "spec.portLevelMtls[8080].mode: \"OPEN\" is not one of",
        ),
        (
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {http: {mode: STRICT}}}",
            "spec.portLevelMtls.http: \"http\" is not a port",
        ),
        (
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {70000: {}}}",
            "spec.portLevelMtls[70000]: \"70000\" is not a port",
        ),
        (
            "{portLevelMtls: {8080: {mode: STRICT}}}",
            "spec.portLevelMtls: counts only together with spec.selector",
        ),
    ] {
        assert_errors(&[(&yaml(GROUPS[0], spec), expected)]);
    }
    assert_errors(&[
        (
            "{apiVersion: weir.dev/v1alpha1, kind: PeerAuthentication, metadata: {name: a}, specs: {}}",
            "specs: unknown field",
        ),
        (
            "{apiVersion: weir.dev/v1alpha1, kind: PeerAuthentication, metadata: {name: a, creationTimestamp: today}}",
            "metadata.creationTimestamp: \"today\" is not a time",
        ),
    ]);
}

#[test]
fn an_invalid_peer_authentication_closes_what_it_selects() {
    for (spec, selector) in [
        ("{mtls: {mode: OPEN}}", None),
        (
            "{selector: {matchLabels: {app: web}}, mtls: {mode: OPEN}}",
            Some("web"),
        ),
        (
            "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: OPEN}}}",
            Some("web"),
        ),
        // Which pods are meant cannot be told: all of the namespace.
        ("{selector: {matchLabels: {app: 1}}}", None),
        ("{selector: [], mtls: {mode: PERMISSIVE}}", None),
    ] {
        let rejected = parse(&yaml(GROUPS[0], spec)).expect_err(spec);
        let Some(Resource::PeerAuthentication(closed)) = rejected.instead else {
            panic!("{spec}")
        };
        assert_eq!(closed.name.to_string(), "shop/a");
        assert_eq!(closed.mode, Some(MtlsMode::Strict), "{spec}");
        assert!(closed.ports.is_empty());
        let app = closed
            .selector
            .as_ref()
            .and_then(|labels| labels.get("app"))
            .map(|app| &**app);
        assert_eq!(app, selector, "{spec}");
    }
}

#[test]
fn the_age_of_a_policy() {
    let created = "2026-01-31T12:00:00+01:00";
    let yaml = format!(
        "{{apiVersion: weir.dev/v1alpha1, kind: PeerAuthentication, metadata: {{name: a, creationTimestamp: '{created}'}}}}"
    );
    assert_eq!(
        policy(&yaml).created,
        Some(UNIX_EPOCH + Duration::from_secs(1_769_857_200))
    );
}

fn config(spec: &str) -> String {
    format!(
        "{{apiVersion: weir.dev/v1alpha1, kind: MeshConfig, metadata: {{name: mesh}}, spec: {spec}}}"
    )
}

#[test]
fn mesh_configs() {
    let parsed = |spec: &str| match resource(&config(spec)) {
        Resource::MeshConfig(config) => MeshConfig::clone(&config),
        other => panic!("{other:?}"),
    };
    assert_eq!(parsed("{}"), MeshConfig::default());
    let config = parsed(
        "{rootNamespace: root, trustDomainAliases: [old.example], accessLog: {mode: errors, format: text}}",
    );
    assert_eq!(
        (&*config.root_namespace, config.trust_domain_aliases),
        ("root", vec!["old.example".into()])
    );
    assert_eq!(
        config.access_log,
        AccessLog {
            mode: AccessLogMode::Errors.into(),
            format: AccessLogFormat::Text,
            fields: AccessLogFields::default(),
        }
    );
    // `off` is a boolean to YAML 1.1.
    for (mode, expected) in [
        ("off", AccessLogMode::Off),
        ("'off'", AccessLogMode::Off),
        ("all", AccessLogMode::All),
        ("null", AccessLogMode::Off),
    ] {
        assert_eq!(
            parsed(&format!("{{accessLog: {{mode: {mode}}}}}"))
                .access_log
                .mode
                .default,
            expected,
            "{mode}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_mesh_config() {
    for (spec, expected) in [
        (
            "{rootNamespace: Root}",
            "spec.rootNamespace: \"Root\" is not a name",
        ),
        (
            "{trustDomainAliases: [a, 'B']}",
            "spec.trustDomainAliases[1]: \"B\" is not a trust domain",
        ),
        (
            "{accessLog: {mode: on}}",
            "spec.accessLog.mode: \"true\" is not one of off, errors, sampled, all",
        ),
        ("{accessLog: {mode: some}}", "spec.accessLog.mode: \"some\""),
        (
            "{accessLog: {mode: 1}}",
            "spec.accessLog.mode: expected one of off, errors, sampled, all",
        ),
        (
            "{accessLog: {format: xml}}",
            "spec.accessLog.format: \"xml\" is not one of json, text",
        ),
        (
            "{accessLog: {level: all}}",
            "spec.accessLog.level: unknown field `level`",
        ),
        (
            "{accessLog: {mode: sampled, sampling: 101}}",
            "spec.accessLog.sampling: \"101\" is not a percentage",
        ),
        (
            "{accessLog: {fields: [path, cookie]}}",
            "spec.accessLog.fields[1]: \"cookie\" is not a field",
        ),
        (
            "{accessLog: {namespaces: [{names: [a]}, {names: [b, a], mode: all}]}}",
            "spec.accessLog.namespaces[1].names[1]: \"a\" is there twice",
        ),
        (
            "{accessLog: {namespaces: [{names: [a], mode: some}]}}",
            "spec.accessLog.namespaces[0].mode: \"some\"",
        ),
        (
            "{accessLog: {namespaces: [{names: []}]}}",
            "spec.accessLog.namespaces[0].names: is required",
        ),
        (
            "{accessLog: {namespaces: [{names: [A]}]}}",
            "spec.accessLog.namespaces[0].names[0]: \"A\" is not a name",
        ),
        ("{tracing: {}}", "spec.tracing.endpoint: is required"),
        (
            "{tracing: {endpoint: 'http://c:4317', protocol: udp}}",
            "spec.tracing.protocol: \"udp\" is not one of grpc, http",
        ),
        (
            "{tracing: {endpoint: 'http://c', sampling: -1}}",
            "spec.tracing.sampling: \"-1\" is not a percentage",
        ),
        (
            "{tracing: {endpoint: 'http://c', namespaces: [{names: [a], sampling: 1000}]}}",
            "spec.tracing.namespaces[0].sampling: \"1000\" is not a percentage",
        ),
    ] {
        assert_errors(&[(&config(spec), expected)]);
    }
}

#[test]
fn access_logs_per_namespace() {
    let spec = "{accessLog: {mode: sampled, sampling: 0.5, fields: [path, time], namespaces: [{names: [shop, cart], mode: all}, {names: [batch]}]}}";
    let Resource::MeshConfig(parsed) = resource(&config(spec)) else {
        panic!("not a MeshConfig");
    };
    let log = &parsed.access_log;
    let half = AccessLogMode::Sampled(Share::of_percent(0.5).unwrap());
    assert_eq!(*log.mode.of(None), half);
    assert_eq!(*log.mode.of(Some("other")), half);
    assert_eq!(*log.mode.of(Some("cart")), AccessLogMode::All);
    assert_eq!(*log.mode.of(Some("batch")), AccessLogMode::Off);
    assert!(log.fields.contains(AccessLogField::Path));
    assert!(!log.fields.contains(AccessLogField::Method));
}

#[test]
fn collectors() {
    let collector = |spec: &str| match resource(&config(&format!("{{tracing: {spec}}}"))) {
        Resource::MeshConfig(config) => config.tracing.clone().unwrap().collector,
        other => panic!("{other:?}"),
    };
    let grpc = Collector {
        protocol: OtlpProtocol::Grpc,
        host: "c.obs".into(),
        port: 4317,
        path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export".into(),
    };
    assert_eq!(collector("{endpoint: 'http://c.obs:4317'}"), grpc);
    assert_eq!(collector("{endpoint: 'http://c.obs/'}"), grpc);
    let http = Collector {
        protocol: OtlpProtocol::Http,
        port: 4318,
        path: "/v1/traces".into(),
        ..grpc.clone()
    };
    assert_eq!(collector("{endpoint: 'http://c.obs:4318'}"), http);
    assert_eq!(
        collector("{endpoint: 'http://c.obs', protocol: http}"),
        http
    );
    let own = collector("{endpoint: 'http://[fd00::1]:80/otlp', protocol: http}");
    assert_eq!(
        (&*own.host, own.port, &*own.path),
        ("[fd00::1]", 80, "/otlp")
    );
    for endpoint in [
        "https://c:4317",
        "c:4317",
        "http://c:0x",
        "http://c:4317/path",
        "http://user:key@c:4317",
        "http://c:4318/?a=b",
        "",
    ] {
        let text = format!("{{tracing: {{endpoint: '{endpoint}'}}}}");
        assert_errors(&[(&config(&text), "spec.tracing.endpoint: ")]);
    }
}
