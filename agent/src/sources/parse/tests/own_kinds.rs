use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{assert_errors, parse, resource};
use crate::model::{
    mesh::{AccessLog, AccessLogFormat, AccessLogMode, MeshConfig},
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
            mode: AccessLogMode::Errors,
            format: AccessLogFormat::Text
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
                .mode,
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
            "spec.accessLog.mode: \"true\" is not one of off, errors, all",
        ),
        ("{accessLog: {mode: some}}", "spec.accessLog.mode: \"some\""),
        (
            "{accessLog: {mode: 1}}",
            "spec.accessLog.mode: expected one of off, errors, all",
        ),
        (
            "{accessLog: {format: xml}}",
            "spec.accessLog.format: \"xml\" is not one of json, text",
        ),
        (
            "{accessLog: {level: all}}",
            "spec.accessLog.level: unknown field `level`",
        ),
        ("{tracing: {}}", "spec.tracing: unknown field `tracing`"),
    ] {
        assert_errors(&[(&config(spec), expected)]);
    }
}
