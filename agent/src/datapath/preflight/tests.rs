use super::*;

fn is_fine(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Fine(_))
}

#[test]
fn knows_old_kernels_from_new_ones() {
    for release in [
        "5.14.0",
        "5.14.0-427.el9.x86_64",
        "6.1.0-18-amd64",
        "6.18.44-fc-v595",
        "10.0",
    ] {
        assert!(is_fine(&kernel(release)), "{release}");
    }
    for release in [
        "5.13.19",
        "5.4.0-150-generic",
        "4.18.0-553.el8",
        "",
        "rubbish",
    ] {
        assert!(!is_fine(&kernel(release)), "{release}");
    }
}

#[test]
fn names_every_capability_that_is_missing() {
    let all = "Name:\tweir\nCapEff:\t000001ffffffffff\n";
    assert!(capabilities(all).all(|check| is_fine(&check.outcome)));

    // All but CAP_SYS_ADMIN.
    let some = "CapEff:\t000001ffffdfffff\n";
    let missing: Vec<_> = capabilities(some)
        .filter(|check| !is_fine(&check.outcome))
        .map(|check| check.name)
        .collect();
    assert_eq!(missing, ["CAP_SYS_ADMIN"]);

    assert!(capabilities("").all(|check| !is_fine(&check.outcome)));
}

#[test]
fn tells_a_bpffs_from_another_file_system() {
    let Outcome::Missing { remedy, .. } = bpf_file_system(Path::new("/proc/self/none")) else {
        panic!("/proc is no bpffs");
    };
    assert!(remedy.contains("mount -t bpf"));
}
