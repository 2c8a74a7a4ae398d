use std::{path::Path, sync::Arc};

use super::{Folder, Update};
use crate::{
    model::{
        names::ObjectName,
        policy::MtlsMode,
        resource::{Change, Kind, Resource, ResourceKey},
    },
    sources::files::{read, settle::Due},
};

/// A folder on disk that is taken in when it is told so.
struct World {
    dir: tempfile::TempDir,
    folder: Folder,
    last: Update,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            folder: Folder::default(),
            last: Update::default(),
        }
    }

    /// Writes (or, without a text, deletes) these files and takes in those alone. Gives the
    /// changes: `+` for an upsert, `-` for a removal.
    fn put(&mut self, files: &[(&str, Option<&str>)]) -> Vec<String> {
        let due = files.iter().map(|(name, text)| {
            let path = self.dir.path().join(name);
            let print = match text {
                Some(text) => {
                    std::fs::write(&path, text).unwrap();
                    super::super::listing::Print::of(&path)
                }
                None => {
                    std::fs::remove_file(&path).unwrap();
                    None
                }
            };
            Due {
                name: Path::new(name).into(),
                print,
            }
        });
        let contents = read::all(self.dir.path(), due.collect(), &self.folder);
        self.last = self.folder.update(contents, None);
        let changes = self.last.delta.changes.iter().map(|change| match change {
            Change::Upsert(key, _) => format!("+{}", key.name),
            Change::Remove(key) => format!("-{}", key.name),
        });
        changes.collect()
    }

    fn write(&mut self, name: &str, text: &str) -> Vec<String> {
        self.put(&[(name, Some(text))])
    }

    fn delete(&mut self, name: &str) -> Vec<String> {
        self.put(&[(name, None)])
    }

    fn problems(&self) -> Vec<String> {
        self.last
            .problems
            .values()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }
}

fn service(name: &str, vip: u8) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: a}}\nspec: {{clusterIP: 10.96.0.{vip}}}\n"
    )
}

fn policy(name: &str, mode: &str) -> String {
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: a}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

fn key(name: &str) -> ResourceKey {
    let (namespace, name) = name.split_once('/').unwrap();
    ResourceKey {
        kind: Kind::Service,
        name: ObjectName::new(namespace, name),
    }
}

const BROKEN: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: a}\nspec: {clusterIP: x}\n";

#[test]
fn only_what_differs_is_a_change() {
    let mut world = World::new();
    let text = service("web", 1) + &service("api", 2) + "---\n";
    assert_eq!(world.write("a.yaml", &text), ["+a/web", "+a/api"]);
    assert_eq!(world.write("a.yaml", &text), [""; 0]);
    assert!(!world.last.changed);
    let text = "# moved\n".to_owned() + &service("db", 3) + &service("api", 9) + &service("web", 1);
    assert_eq!(world.write("a.yaml", &text), ["+a/db", "+a/api"]);
    assert_eq!(
        world.write("a.yaml", &service("api", 9)),
        ["-a/db", "-a/web"]
    );
    assert_eq!(world.delete("a.yaml"), ["-a/api"]);
    assert_eq!(world.folder.census().objects.len(), 0);
}

#[test]
fn a_file_that_cannot_be_parsed_keeps_what_it_had() {
    let mut world = World::new();
    let good = service("web", 1) + &service("api", 2);
    world.write("a.yaml", &good);
    for (broken, expected) in [
        (
            service("web", 9) + "---\na: [1\n",
            "a.yaml, document 2: cannot be parsed: line 7",
        ),
        ("\u{0}".to_owned(), "a.yaml, document 1: cannot be parsed"),
        (String::new(), "a.yaml: is empty"),
    ] {
        assert_eq!(world.write("a.yaml", &broken), [""; 0], "{broken}");
        let problems = world.problems();
        assert!(
            problems.len() == 1 && problems[0].starts_with(expected),
            "{problems:?}"
        );
        assert_eq!(world.last.delta.rejected, 1);
    }
    std::fs::write(world.dir.path().join("a.yaml"), b"a: \xff").unwrap();
    let due = vec![Due {
        name: Path::new("a.yaml").into(),
        print: super::super::listing::Print::of(&world.dir.path().join("a.yaml")),
    }];
    let contents = read::all(world.dir.path(), due, &world.folder);
    assert!(world.folder.update(contents, None).delta.changes.is_empty());
    assert_eq!(world.write("a.yaml", &good), [""; 0]);
    assert!(world.problems().is_empty());
    assert_eq!(world.last.delta.rejected, 0);
}

#[test]
fn an_invalid_object_keeps_its_last_good_version() {
    let mut world = World::new();
    world.write("a.yaml", &(service("web", 1) + &service("api", 2)));
    assert_eq!(
        world.write("a.yaml", &(BROKEN.to_owned() + &service("api", 3))),
        ["+a/api"]
    );
    assert_eq!(
        world.problems(),
        [
            "a.yaml, document 1, Service a/web, spec.clusterIP: \"x\" is not an IP address that a pod or service can have"
        ]
    );
    // Still, when other things change, and when the file breaks as a whole.
    assert_eq!(
        world.write("a.yaml", &(service("api", 4) + BROKEN)),
        ["+a/api"]
    );
    assert_eq!(world.write("a.yaml", "a: ["), [""; 0]);
    assert_eq!(
        world.write("a.yaml", &(service("web", 5) + &service("api", 4))),
        ["+a/web"]
    );
    // Gone is gone.
    world.write("a.yaml", BROKEN);
    assert_eq!(world.delete("a.yaml"), ["-a/web"]);
}

#[test]
fn a_route_that_is_wrong_in_one_field_keeps_its_last_good_version() {
    let mut world = World::new();
    let route = |name: &str, path: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: a}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: web}}]\n  rules:\n  - matches: [{{}}, {{path: {{value: {path}}}}}]\n"
        )
    };
    let file = |first: &str, second: &str| route("one", first) + &route("two", second);
    assert_eq!(
        world.write("r.yaml", &file("/a", "/b")),
        ["+a/one", "+a/two"]
    );
    assert_eq!(world.write("r.yaml", &file("a", "/c")), ["+a/two"]);
    let problems = world.problems();
    assert!(
        problems.len() == 1
            && problems[0].starts_with(
                "r.yaml, document 1, HTTPRoute a/one, spec.rules[0].matches[1].path.value: \"a\" is not a path"
            ),
        "{problems:?}"
    );
    assert_eq!(world.last.delta.rejected, 1);
    assert_eq!(world.write("r.yaml", &file("/d", "/c")), ["+a/one"]);
    assert!(world.problems().is_empty());
}

#[test]
fn an_object_that_was_never_good_is_not_there() {
    let mut world = World::new();
    assert_eq!(world.write("a.yaml", BROKEN), [""; 0]);
    assert_eq!(world.last.delta.rejected, 1);
    assert!(world.last.changed);
}

#[test]
fn an_object_that_moves_to_another_file_and_breaks_keeps_its_last_good_version() {
    let mut world = World::new();
    world.write("a.yaml", &service("web", 1));
    assert_eq!(
        world.put(&[("a.yaml", None), ("b.yaml", Some(BROKEN))]),
        [""; 0]
    );
    assert_eq!(world.last.delta.rejected, 1);
    assert_eq!(world.delete("b.yaml"), ["-a/web"]);
    // An object that moves whole is never gone, whichever file comes first.
    world.write("b.yaml", &service("web", 1));
    assert_eq!(
        world.put(&[("a.yaml", Some(&service("web", 1))), ("b.yaml", None)]),
        [""; 0]
    );
    assert_eq!(
        world.put(&[("a.yaml", None), ("b.yaml", Some(&service("web", 2)))]),
        ["+a/web"]
    );
}

fn modes(world: &World) -> Vec<(String, Option<MtlsMode>)> {
    let changes = world
        .last
        .delta
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Upsert(_, Resource::PeerAuthentication(policy)) => {
                Some((policy.name.to_string(), policy.mode))
            }
            _ => None,
        });
    changes.collect()
}

#[test]
fn an_invalid_peer_authentication_counts_as_strict() {
    let mut world = World::new();
    world.write("a.yaml", &policy("web", "PERMISSIVE"));
    world.write("a.yaml", &policy("web", "OPEN"));
    assert_eq!(
        modes(&world),
        [("a/web".to_owned(), Some(MtlsMode::Strict))]
    );
    assert_eq!(world.last.delta.rejected, 1);
    world.write("a.yaml", &policy("web", "PERMISSIVE"));
    assert_eq!(
        modes(&world),
        [("a/web".to_owned(), Some(MtlsMode::Permissive))]
    );
    // Also one that never was good, and one that has no name.
    world.write("b.yaml", &(policy("api", "OPEN") + &policy("", "DISABLE")));
    let strict = Some(MtlsMode::Strict);
    assert_eq!(
        modes(&world),
        [
            ("a/api".to_owned(), strict),
            ("a/b.yaml#2".to_owned(), strict)
        ]
    );
    assert_eq!(world.delete("b.yaml"), ["-a/api", "-a/b.yaml#2"]);
}

#[test]
fn a_document_that_cannot_be_told_apart_keeps_what_is_missing() {
    let mut world = World::new();
    world.write("a.yaml", &(policy("web", "STRICT") + &service("web", 1)));
    let misspelt = policy("web", "STRICT").replace("PeerAuthentication", "PeerAuthentcation");
    assert_eq!(
        world.write("a.yaml", &(misspelt.clone() + &service("web", 1))),
        [""; 0]
    );
    assert_eq!(world.problems().len(), 1);
    let missing = "---\napiVersion: v1\nkind: Service\n";
    assert_eq!(world.write("a.yaml", missing), [""; 0]);
    assert_eq!(world.write("a.yaml", &service("web", 1)), ["-a/web"]);
}

#[test]
fn of_an_object_in_two_files_the_first_counts() {
    let mut world = World::new();
    assert_eq!(world.write("b.yaml", &service("web", 2)), ["+a/web"]);
    assert_eq!(
        world.write("c.yaml", &(service("db", 1) + &service("web", 3))),
        ["+a/db"]
    );
    assert_eq!(
        world.problems(),
        ["c.yaml, document 2, Service a/web: is in b.yaml already, which counts"]
    );
    assert_eq!(world.last.delta.rejected, 1);
    assert_eq!(world.write("a.yaml", &service("web", 1)), ["+a/web"]);
    assert_eq!(
        world.problems(),
        [
            "b.yaml, document 1, Service a/web: is in a.yaml already, which counts",
            "c.yaml, document 2, Service a/web: is in a.yaml already, which counts",
        ]
    );
    assert_eq!(world.last.delta.rejected, 2);
    assert_eq!(world.put(&[("a.yaml", None), ("b.yaml", None)]), ["+a/web"]);
    assert!(world.problems().is_empty());
    assert_eq!(world.last.delta.rejected, 0);
}

#[test]
fn of_an_object_twice_in_a_file_the_first_counts() {
    let mut world = World::new();
    assert_eq!(
        world.write("a.yaml", &(service("web", 1) + &service("web", 2))),
        ["+a/web"]
    );
    assert_eq!(
        world.problems(),
        ["a.yaml, document 2, Service a/web: is in this file already, which counts"]
    );
    assert_eq!(world.write("a.yaml", &service("web", 2)), ["+a/web"]);
    assert!(world.problems().is_empty());
}

#[test]
fn lists_are_their_items() {
    let mut world = World::new();
    let list = |vip: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "List", "items": [
                {{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "a"}}}},
                {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web", "namespace": "a"}}, "spec": {{"clusterIP": "{vip}"}}}}
            ]}}"#
        )
    };
    assert_eq!(world.write("a.json", &list("10.96.0.1")), ["+a", "+a/web"]);
    assert_eq!(world.write("a.json", &list("x")), [""; 0]);
    assert!(
        world.problems()[0]
            .starts_with("a.json, document 1, Service a/web, items[1].spec.clusterIP: ")
    );
    assert_eq!(
        world.write("b.yaml", "apiVersion: v1\nkind: List\nitems: 3\n"),
        [""; 0]
    );
    assert_eq!(
        world.problems(),
        ["b.yaml, document 1, items: expected a sequence"]
    );
}

#[test]
fn kinds_that_are_not_acted_upon_are_noted_and_others_ignored() {
    let mut world = World::new();
    let idle = "apiVersion: weir.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: web}\nspec: {what: ever}\n";
    let foreign = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";
    assert_eq!(world.write("a.yaml", &(idle.to_owned() + foreign)), [""; 0]);
    assert!(world.problems().is_empty());
    let noted: Vec<String> = world
        .last
        .idle
        .values()
        .flatten()
        .map(|(_, object)| object.to_string())
        .collect();
    assert_eq!(noted, ["AuthorizationPolicy default/web"]);
    assert_eq!(world.folder.census().foreign, 1);
}

#[test]
fn an_unchanged_object_stays_one_allocation() {
    let mut world = World::new();
    let resource = |world: &World| {
        let Some(Change::Upsert(_, Resource::Service(service))) = world.last.delta.changes.first()
        else {
            panic!()
        };
        Arc::clone(service)
    };
    world.write("a.yaml", &service("web", 1));
    let first = resource(&world);
    // Parsed anew, and equal; then alone in another file.
    world.write("a.yaml", &(service("web", 1) + "  # a comment\n"));
    world.write("b.yaml", &service("web", 1));
    world.delete("a.yaml");
    assert!(world.last.delta.changes.is_empty());
    let Some(Resource::Service(running)) = world.folder.claims.told(&key("a/web")) else {
        panic!()
    };
    assert!(Arc::ptr_eq(&first, running));
    let Some((_, Resource::Service(held))) =
        world.folder.files[Path::new("b.yaml")].offers().next()
    else {
        panic!()
    };
    assert!(Arc::ptr_eq(&first, held));
}

#[test]
fn much_is_read_on_all_cores_with_the_same_outcome() {
    let mut world = World::new();
    let padding = format!("# {}\n", "x".repeat(400_000));
    let texts: Vec<(String, String)> = (0..6)
        .map(|i| {
            (
                format!("{i}.yaml"),
                padding.clone() + &service(&format!("web-{i}"), i),
            )
        })
        .collect();
    let files: Vec<(&str, Option<&str>)> = texts
        .iter()
        .map(|(name, text)| (&**name, Some(&**text)))
        .collect();
    let expected: Vec<String> = (0..6).map(|i| format!("+a/web-{i}")).collect();
    assert_eq!(world.put(&files), expected);
}
