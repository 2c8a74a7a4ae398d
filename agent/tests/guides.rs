//! Every manifest in the guides is one that an agent takes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::Path};

use weir::sources::validate;

/// The fenced `yaml` blocks of a page, in order.
fn manifests(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (&mut open, line.trim_end()) {
            (None, "```yaml") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn every_manifest_in_the_guides_is_valid() {
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides");
    let mut checked = 0;
    for entry in fs::read_dir(guides).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        for (index, manifest) in manifests(&page).iter().enumerate() {
            // Prometheus' own configuration is no manifest.
            if !manifest.contains("apiVersion:") {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("guide.yaml"), manifest).unwrap();
            let report = validate::folder(folder.path()).unwrap();
            assert!(
                report.problems.is_empty(),
                "{} block {}: {:?}\n{manifest}",
                path.display(),
                index + 1,
                report.problems
            );
            checked += 1;
        }
    }
    assert!(checked >= 3, "the guides have only {checked} manifests");
}
