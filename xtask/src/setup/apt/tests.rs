use super::*;

#[test]
fn a_package_is_there_only_when_dpkg_says_installed() {
    let listed = "wrk installed\nnginx-light config-files\n";
    assert_eq!(
        missing_from(listed, &["wrk", "nginx-light", "socat"]),
        ["nginx-light", "socat"]
    );
}

#[test]
fn nothing_listed_means_everything_is_missing() {
    assert_eq!(missing_from("", &["wrk"]), ["wrk"]);
}
