use proptest::prelude::*;
use serde_json::Value;

use super::{Format, split, value};
use crate::{model::limits, sources::Reason};

/// Number, lines before, and value of each document.
fn documents(format: Format, text: &str) -> Vec<(usize, usize, Value)> {
    let documents = split(format, text).unwrap();
    documents
        .into_iter()
        .map(|d| (d.number, d.lines_before, value(format, d).unwrap()))
        .collect()
}

fn values(text: &str) -> Vec<String> {
    documents(Format::Yaml, text)
        .into_iter()
        .map(|(_, _, value)| value.to_string())
        .collect()
}

#[test]
fn yaml_documents() {
    for (text, expected) in [
        ("", vec![]),
        ("# nothing\n", vec![]),
        ("a: 1", vec!["{\"a\":1}"]),
        ("\u{feff}a: 1\r\n", vec!["{\"a\":1}"]),
        ("---\na: 1\n---\nb: 2\n", vec!["{\"a\":1}", "{\"b\":2}"]),
        ("# why\n---\na: 1\n...\n", vec!["{\"a\":1}"]),
        ("%YAML 1.2\n---\na: 1\n", vec!["{\"a\":1}"]),
        ("a: 1\n--- # next\nb: 2", vec!["{\"a\":1}", "{\"b\":2}"]),
        ("---\n---\na: 1", vec!["null", "{\"a\":1}"]),
        // Indented, or with more behind it, it marks nothing.
        ("a: |\n  ---\n  b\n", vec!["{\"a\":\"---\\nb\\n\"}"]),
        ("---a: 1\n", vec!["{\"---a\":1}"]),
        // JSON is YAML.
        (
            "{\"a\": 1}\n---\n{\"b\": [2]}",
            vec!["{\"a\":1}", "{\"b\":[2]}"],
        ),
        // Keys become text, as in Kubernetes.
        (
            "{8080: x, true: z}",
            vec!["{\"8080\":\"x\",\"true\":\"z\"}"],
        ),
    ] {
        assert_eq!(values(text), expected, "{text:?}");
    }
}

#[test]
fn documents_are_counted_as_people_count() {
    let text = "# head\n---\na: 1\n---\n# empty\n---\nb: 2\n";
    let found: Vec<_> = documents(Format::Yaml, text)
        .into_iter()
        .map(|(n, lines, v)| (n, lines, v.is_null()))
        .collect();
    assert_eq!(found, [(1, 1, false), (2, 3, true), (3, 5, false)]);
}

#[test]
fn json_documents() {
    assert_eq!(
        documents(Format::Json, "{\"a\": 1}\n {\"b\": 2}\n").len(),
        2
    );
    assert_eq!(documents(Format::Json, " \n").len(), 0);
    assert!(matches!(
        split(Format::Json, "{\"a\": 1} {\"b\""),
        Err(Reason::Syntax { .. })
    ));
}

fn error(text: &str) -> String {
    let documents = split(Format::Yaml, text).unwrap();
    documents
        .into_iter()
        .find_map(|d| value(Format::Yaml, d).err())
        .expect(text)
        .to_string()
}

#[test]
fn errors_say_the_line_of_the_file() {
    let error = error("a: 1\n---\nb: 2\nc: [1\n");
    assert!(
        error.starts_with("cannot be parsed: line 4, column 4: "),
        "{error}"
    );
}

#[test]
fn hostile_yaml_is_an_error() {
    let bomb = |levels: usize| {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..levels {
            let alias = format!("*a{},", level - 1).repeat(10);
            text += &format!("a{level}: &a{level} [{alias}]\n");
        }
        text
    };
    let long = "x".repeat(1 << 20);
    let copies = "*a,".repeat(900);
    let deep_block: String = (0..5_000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    for (what, text) in [
        ("an alias bomb", bomb(9)),
        (
            "a bomb of long texts",
            format!("a: &a {long}\nb: [{copies}]\n"),
        ),
        (
            "aliases of aliases of long texts",
            format!(
                "a: &a {long}\nb: &b [{}]\nc: [{}]\n",
                "*a,".repeat(30),
                "*b,".repeat(30)
            ),
        ),
        ("deep brackets", "[".repeat(100_000)),
        ("deep braces", "{a: ".repeat(100_000)),
        ("deep blocks", deep_block),
        ("deep dashes", "- ".repeat(100_000)),
        ("many anchors", "- &a x\n".repeat(10_000)),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("an alias of nothing", "a: *b\n".to_owned()),
        (
            "merges",
            format!("a: &a {{x: 1}}\nb:\n{}", "  - <<: *a\n".repeat(2_000)),
        ),
        ("a key twice", "a: 1\na: 2\n".to_owned()),
        ("half a text", "a: \"b\n".to_owned()),
        ("a tab", "a:\n\tb: 1\n".to_owned()),
        ("a zero byte", "a: \0\n".to_owned()),
    ] {
        let error = error(&text);
        assert!(error.starts_with("cannot be parsed"), "{what}: {error}");
    }
}

#[test]
fn hostile_json_is_an_error() {
    for text in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "{\"a\": 1e999}".to_owned(),
        "nul".to_owned(),
    ] {
        let failed = match split(Format::Json, &text) {
            Ok(documents) => documents
                .into_iter()
                .all(|document| value(Format::Json, document).is_err()),
            Err(_) => true,
        };
        assert!(failed);
    }
}

#[test]
fn limits_are_kept() {
    let many = "---\n".repeat(limits::CONFIG_DOCUMENTS_MAX + 1);
    assert!(matches!(
        split(Format::Yaml, &many),
        Err(Reason::TooManyDocuments { .. })
    ));
    let large = "x".repeat(limits::CONFIG_DOCUMENT_BYTES_MAX + 1);
    assert!(matches!(
        split(Format::Yaml, &large),
        Err(Reason::DocumentTooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[-:{}\\[\\]&*!|>%@`'\"#,?~<= \\n\\ta-c0-9\\PC]{0,200}") {
        for format in [Format::Yaml, Format::Json] {
            for document in split(format, &text).into_iter().flatten() {
                let _ = value(format, document);
            }
        }
    }
}
