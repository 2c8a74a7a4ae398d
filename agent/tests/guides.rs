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
    assert!(checked >= 20, "the guides have only {checked} manifests");
}

/// The targets of a page's links to other pages, less their anchors.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split_once('#').map_or(target, |(path, _)| path))
        .filter(|path| path.ends_with(".md"))
}

#[test]
fn every_link_leads_to_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guides = fs::read_dir(root.join("docs/guides")).unwrap();
    let mut pages: Vec<_> = guides.map(|entry| entry.unwrap().path()).collect();
    pages.extend(["README.md", "docs/ARCHITECTURE.md"].map(|page| root.join(page)));
    for path in &pages {
        let page = fs::read_to_string(path).unwrap();
        for link in links(&page) {
            let target = path.with_file_name(link);
            assert!(target.is_file(), "{}: {link}", path.display());
        }
    }
    // Whoever comes by the README finds every guide.
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for path in &pages[..pages.len() - 2] {
        let name = path.file_name().unwrap().to_str().unwrap();
        let link = format!("docs/guides/{name}");
        assert!(links(&readme).any(|found| found == link), "no {link}");
    }
}
