use std::path::Path;

use super::{broken_rules, module_path};

/// The rules that `source` breaks in the file `file`, as `line: rule`.
fn broken(file: &str, source: &str) -> Vec<String> {
    broken_rules(&module_path(Path::new(file)), source)
        .unwrap()
        .into_iter()
        .map(|(line, rule)| format!("{line}: {rule}"))
        .collect()
}

#[test]
fn files_are_modules() {
    let path = |file| module_path(Path::new(file)).join("::");
    assert_eq!(path("proxy/l7/pipeline.rs"), "proxy::l7::pipeline");
    assert_eq!(path("proxy/mod.rs"), "proxy");
    assert_eq!(path("lib.rs"), "");
    assert_eq!(path("main.rs"), "main");
}

#[test]
fn what_the_rules_allow_passes() {
    for (file, source) in [
        ("lib.rs", "pub mod app; pub use crate::model::Snapshot;"),
        ("main.rs", "fn main() { weir::cli::run() }"),
        (
            "cli/explain.rs",
            "use crate::{app, authz, sources, traffic};",
        ),
        (
            "app/mod.rs",
            "use crate::{admin, control, datapath, enroll, identity, proxy};",
        ),
        (
            "proxy/l7/mod.rs",
            "use crate::model::Snapshot; use crate::transport::hbone;",
        ),
        (
            "proxy/l7/mod.rs",
            "use super::l4; use super::super::traffic::retry;",
        ),
        (
            "datapath/maps.rs",
            "use weir_abi::Key; use aya::maps::HashMap;",
        ),
        (
            "traffic/retry.rs",
            "use std::time::Instant; use crate::model::Route;",
        ),
        (
            "model/fold.rs",
            "use super::service::Service; use crate::model::limits;",
        ),
        ("identity/mod.rs", "fn f() { crate::some_macro!(); }"),
    ] {
        assert_eq!(
            broken(file, source),
            Vec::<String>::new(),
            "{file}: {source}"
        );
    }
}

#[test]
fn what_the_rules_forbid_is_found() {
    let cases = [
        (
            "traffic/retry.rs",
            "use crate::proxy::l7;",
            "1: traffic may not import proxy",
        ),
        (
            "transport/tls.rs",
            "use crate::{model, telemetry,\n proxy::l4};",
            "1: transport may not import proxy",
        ),
        (
            "proxy/l4/mod.rs",
            "fn f() {\n crate::identity::store() }",
            "2: proxy may not import identity",
        ),
        (
            "enroll/mod.rs",
            "use super::datapath::Maps;",
            "1: enroll may not import datapath",
        ),
        (
            "enroll/a/b.rs",
            "use super::super::super::app as x;",
            "1: enroll may not import app",
        ),
        (
            "model/fold.rs",
            "use crate::telemetry::Event;",
            "1: model may not import telemetry (it imports no other",
        ),
        (
            "model/pod.rs",
            "use tokio::sync::watch;",
            "1: model may not use tokio",
        ),
        (
            "traffic/balance.rs",
            "fn f(fd: libc::c_int) {}",
            "1: traffic may not use libc",
        ),
        (
            "sources/files.rs",
            "use aya::Ebpf;",
            "1: sources may not use aya (only datapath may)",
        ),
        (
            "main.rs",
            "fn main() { weir::app::run() }",
            "1: main may not import app (it may import cli)",
        ),
        (
            "main.rs",
            "use weir::model::Pod; fn main() {}",
            "1: main may not import model",
        ),
        (
            "novel/mod.rs",
            "use crate::model::Pod;",
            "1: the module novel has no rule",
        ),
    ];
    for (file, source, expected) in cases {
        let found = broken(file, source);
        assert_eq!(found.len(), 1, "{file}: {source}: {found:?}");
        assert!(
            found[0].starts_with(expected),
            "{found:?} is not {expected:?}"
        );
    }
}

#[test]
fn super_counts_inline_modules() {
    let inside = "mod inner { use super::super::model::Pod; use super::Local; }";
    assert!(broken("authz/mod.rs", inside).is_empty());
    let outside = "mod inner { use super::super::proxy::l7; }";
    assert_eq!(broken("authz/mod.rs", outside).len(), 1);
}

#[test]
fn macros_are_read_too() {
    let source = "fn f() {\n tracing::info!(id = %crate::proxy::id(), \"{}\", g(super::super::enroll::x));\n}";
    let found = broken("identity/store.rs", source);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("2: identity may not import enroll"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("2: identity may not import proxy"),
        "{found:?}"
    );
}

#[test]
fn types_generics_attributes_and_visibility_are_read() {
    for source in [
        "struct S(Vec<Option<crate::proxy::P>>);",
        "impl crate::proxy::P for S {}",
        "fn f<T: crate::proxy::P>() {}",
        "fn f() where S: crate::proxy::P {}",
        "fn f() { let _ = <S as crate::proxy::P>::g(); }",
        "#[derive(crate::proxy::P)] struct S;",
    ] {
        assert_eq!(broken("telemetry/mod.rs", source).len(), 1, "{source}");
    }
}

#[test]
fn tests_may_import_anything() {
    for source in [
        "#[cfg(test)] mod tests { use crate::app::run; }",
        "#[cfg(all(test, unix))] use crate::app::run;",
        "struct S; impl S { #[cfg(test)] fn f() { crate::app::run() } }",
    ] {
        assert!(broken("model/pod.rs", source).is_empty(), "{source}");
    }
    for source in [
        "#[cfg(not(test))] use crate::app::run;",
        "#[cfg(any(test, unix))] use crate::app::run;",
    ] {
        assert_eq!(broken("model/pod.rs", source).len(), 1, "{source}");
    }
}

#[test]
fn every_line_that_breaks_a_rule_is_told() {
    let source = "use crate::app::a;\nuse crate::app::b;\nuse crate::app::b;";
    let found = broken("model/mod.rs", source);
    assert_eq!(found.len(), 3, "{found:?}");
}
