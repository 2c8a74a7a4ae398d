use std::fs;

use super::folder;
use crate::{model::resource::Kind, sources::parse::IdleKind};

#[test]
fn counts_what_there_is_and_lists_what_is_wrong() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write(
        "a.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n",
    );
    write(
        "b.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\n",
    );
    write(
        "c.yaml",
        "apiVersion: weir.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: a}\n",
    );
    write("d.yaml", "a: [");
    let report = folder(dir).unwrap();
    assert_eq!(report.objects.get(&Kind::Service), Some(&2));
    assert_eq!(report.idle.get(&IdleKind::ExternalService), Some(&1));
    assert_eq!(report.foreign, 1);
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(
        problems[0],
        "b.yaml, document 1, Service default/a: is in a.yaml already, which counts"
    );
    assert!(
        problems[1].starts_with("d.yaml, document 1: cannot be parsed: line 1"),
        "{}",
        problems[1]
    );
}

#[test]
fn of_two_policies_on_one_service_the_younger_does_not_count() {
    let temp = tempfile::tempdir().unwrap();
    let policy = |name: &str, created: &str| {
        format!(
            "apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\n\
             metadata: {{name: {name}, namespace: shop, creationTimestamp: '{created}'}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, name: web}}]}}\n"
        )
    };
    let text = [
        policy("a", "2026-02-01T00:00:00Z"),
        policy("b", "2026-01-01T00:00:00Z"),
    ]
    .join("---\n");
    fs::write(temp.path().join("a.yaml"), text).unwrap();
    let report = folder(temp.path()).unwrap();
    assert_eq!(report.problems, []);
    let conflicts: Vec<String> = report.conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(
        conflicts,
        [
            "TrafficPolicy shop/a: does not count for Service web: shop/b is older, or as old and first by name"
        ]
    );
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error() {
    assert!(folder(std::path::Path::new("/nowhere/at/all")).is_err());
}
