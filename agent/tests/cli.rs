//! The commands that a person runs by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, process::Command};

struct Answer {
    ok: bool,
    out: String,
    err: String,
}

fn weir(args: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .output()
        .unwrap();
    Answer {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn says_its_version() {
    let answer = weir(&["--version"]);
    assert!(answer.ok);
    assert!(
        answer
            .out
            .starts_with(concat!("weir ", env!("CARGO_PKG_VERSION"), " ("))
    );
}

#[test]
fn completes_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = weir(&["completions", shell]);
        assert!(answer.ok && answer.out.contains("uninstall"), "{shell}");
    }
}

#[test]
fn validates_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let file = folder.path().join("all.yaml");
    fs::write(
        &file,
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n",
    )
    .unwrap();
    let answer = weir(&["validate", path]);
    assert!(
        answer.ok && answer.out.contains("1 Service"),
        "{}",
        answer.out
    );

    fs::write(
        &file,
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
         spec: {clusterIP: 10.96.0.10, ports: [{port: 80000}]}\n",
    )
    .unwrap();
    let answer = weir(&["validate", path]);
    assert!(!answer.ok);
    for part in ["all.yaml", "spec.ports[0].port"] {
        assert!(answer.out.contains(part), "{}", answer.out);
    }

    let answer = weir(&["validate", "/nowhere/at/all"]);
    assert!(
        !answer.ok && answer.err.contains("/nowhere/at/all"),
        "{}",
        answer.err
    );
}

#[test]
fn check_names_a_remedy_for_what_is_missing() {
    // /proc is no bpffs, on any machine.
    let answer = weir(&["check", "--bpffs", "/proc/weir", "--cgroup", "/proc"]);
    assert!(!answer.ok);
    for part in [
        "MISSING  bpffs",
        "mount -t bpf",
        "MISSING  cgroup2",
        "--cgroup",
    ] {
        assert!(answer.out.contains(part), "no {part} in\n{}", answer.out);
    }
}

#[test]
fn refuses_flags_that_make_no_sense() {
    for (flag, value, told) in [
        ("--drain-timeout", "10 seconds", "500ms, 10s, 1h30m"),
        ("--trust-domain", "Cluster.Local", "lower-case"),
        ("--on-exit", "maybe", "release"),
        ("--ca-cert", "ca.crt", "--ca-key"),
        ("--threads", "0", "1..=256"),
    ] {
        let answer = weir(&["agent", "--config", "c", "--node", "n", flag, value]);
        assert!(
            !answer.ok && answer.err.contains(told),
            "{flag}: {}",
            answer.err
        );
    }
}

#[test]
fn uninstall_finds_nothing_where_nothing_is() {
    let answer = weir(&["uninstall", "--bpffs", "/sys/fs/bpf/weir-never-was"]);
    assert!(
        answer.ok && answer.out.contains("nothing of weir"),
        "{}",
        answer.out
    );
}
