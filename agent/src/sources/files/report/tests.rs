use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::Report;
use crate::{
    model::names::ObjectName,
    sources::{
        Problem, Reason,
        files::folder::Update,
        parse::{FieldReason, ObjectRef},
    },
};

fn problem(document: usize, field: &str) -> Problem {
    Problem {
        file: "a.yaml".into(),
        document: Some(document),
        object: Some(ObjectRef {
            kind: "Pod".to_owned(),
            name: Some(ObjectName::new("shop", "web")),
        }),
        field: field.to_owned(),
        reason: Reason::Field(FieldReason::Required),
    }
}

/// Fields of the problems that are news when these are all there are.
fn news(report: &mut Report, problems: Vec<Problem>) -> Vec<String> {
    let file: Arc<Path> = Path::new("a.yaml").into();
    let update = Update {
        problems: BTreeMap::from([(file, problems)]),
        ..Update::default()
    };
    report
        .news(&update)
        .into_iter()
        .map(|problem| problem.field)
        .collect()
}

#[test]
fn a_problem_is_said_once_and_again_when_it_changes() {
    let mut report = Report::default();
    assert_eq!(news(&mut report, vec![problem(1, "a")]), ["a"]);
    assert_eq!(news(&mut report, vec![problem(1, "a")]), [""; 0]);
    // Its document has moved; that is no news.
    assert_eq!(
        news(&mut report, vec![problem(2, "a"), problem(2, "b")]),
        ["b"]
    );
    assert_eq!(news(&mut report, vec![]), [""; 0]);
    assert_eq!(news(&mut report, vec![problem(1, "a")]), ["a"]);
}

#[test]
fn a_nameless_problem_is_told_by_its_document() {
    let nameless = |document| Problem {
        object: None,
        ..problem(document, "kind")
    };
    let mut report = Report::default();
    assert_eq!(news(&mut report, vec![nameless(1)]), ["kind"]);
    assert_eq!(news(&mut report, vec![nameless(1), nameless(2)]), ["kind"]);
}
