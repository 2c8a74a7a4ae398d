//! The rules themselves. docs/ARCHITECTURE.md says them in words: change both or neither.

use super::imports::Import;

/// A module of the agent and the others that it may name. Every module may name itself and the model.
struct Layer {
    module: &'static str,
    may_import: &'static [&'static str],
}

const fn layer(module: &'static str, may_import: &'static [&'static str]) -> Layer {
    Layer { module, may_import }
}

const LAYERS: &[Layer] = &[
    layer("main", &["cli"]),
    layer("cli", &["app", "settings", "sources", "traffic", "authz"]),
    layer(
        "app",
        &[
            "admin",
            "control",
            "datapath",
            "enroll",
            "identity",
            "proxy",
            "settings",
            "sources",
            "telemetry",
            "transport",
        ],
    ),
    layer("settings", &[]),
    layer("admin", &["traffic", "authz", "telemetry"]),
    layer("control", &["identity", "sources", "telemetry"]),
    layer("proxy", &["traffic", "authz", "transport", "telemetry"]),
    layer("transport", &["identity", "telemetry"]),
    layer("datapath", &[]),
    layer("enroll", &[]),
    layer("sources", &[]),
    layer("traffic", &[]),
    layer("authz", &[]),
    layer("identity", &[]),
    layer("telemetry", &[]),
    layer("model", &[]),
];

/// A crate that only some modules may name.
struct CrateRule {
    name: &'static str,
    allowed_in: &'static [&'static str],
}

/// The kernel's interface is the datapath's affair.
const CRATES: &[CrateRule] = &[
    CrateRule {
        name: "aya",
        allowed_in: &["datapath"],
    },
    CrateRule {
        name: "aya_log",
        allowed_in: &["datapath"],
    },
    CrateRule {
        name: "weir_abi",
        allowed_in: &["datapath"],
    },
];

/// Modules that decide and do nothing else: their tests need no runtime, no kernel and no clock.
const PURE: &[&str] = &["authz", "model", "traffic"];
const IMPURE_CRATES: &[&str] = &["aya", "libc", "rustix", "socket2", "tokio"];

/// The rule that `import` breaks when it stands in `module`, in words.
pub(super) fn violation(module: &[String], import: &Import) -> Option<String> {
    // lib.rs declares the modules and is nobody's layer.
    let from = module.first()?.as_str();
    match import {
        Import {
            is_own_crate: true,
            name,
            ..
        } => module_violation(from, name),
        Import { name, .. } => crate_violation(from, name),
    }
}

fn module_violation(from: &str, to: &str) -> Option<String> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.module == from) else {
        return Some(format!(
            "the module {from} has no rule: give it one in xtask/src/layers/rules.rs"
        ));
    };
    let is_known = LAYERS.iter().any(|layer| layer.module == to);
    // An item at the crate's root, as a macro is, belongs to no layer.
    if !is_known || from == to || layer.may_import.contains(&to) {
        return None;
    }
    if from == "model" {
        return Some(format!(
            "model may not import {to} (it imports no other module)"
        ));
    }
    if to == "model" && from != "main" {
        return None;
    }
    let mut allowed = layer.may_import.to_vec();
    if from != "main" {
        allowed.push("model");
    }
    Some(format!(
        "{from} may not import {to} (it may import {})",
        allowed.join(", ")
    ))
}

fn crate_violation(from: &str, name: &str) -> Option<String> {
    if PURE.contains(&from) && IMPURE_CRATES.contains(&name) {
        return Some(format!(
            "{from} may not use {name} (it is pure: no runtime, no kernel)"
        ));
    }
    let rule = CRATES.iter().find(|rule| rule.name == name)?;
    (!rule.allowed_in.contains(&from)).then(|| {
        format!(
            "{from} may not use {name} (only {} may)",
            rule.allowed_in.join(", ")
        )
    })
}
