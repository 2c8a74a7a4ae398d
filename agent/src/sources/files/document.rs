//! The text of a file → its documents → their values.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{model::limits, sources::Reason};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// The text of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// From 1, as a person counts: each `---` begins one, and so does text before the first.
    pub(super) number: usize,
    /// Lines of the file before it.
    pub(super) lines_before: usize,
    pub(super) text: &'a str,
}

/// Splits a file into documents. Those of YAML are found without parsing, because `---` at
/// the beginning of a line is a marker wherever it stands (YAML 1.2.2, rule 206): so each document
/// is limited on its own, and one that has not changed need not be parsed again.
pub(super) fn split(format: Format, text: &str) -> Result<Vec<Text<'_>>, Reason> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = match format {
        Format::Yaml => split_yaml(text),
        Format::Json => split_json(text)?,
    };
    let documents_max = limits::CONFIG_DOCUMENTS_MAX;
    if documents.len() > documents_max {
        return Err(Reason::TooManyDocuments { documents_max });
    }
    let bytes_max = limits::CONFIG_DOCUMENT_BYTES_MAX;
    if documents
        .iter()
        .any(|document| document.text.len() > bytes_max)
    {
        return Err(Reason::DocumentTooLarge { bytes_max });
    }
    Ok(documents)
}

/// The value of one document; `Null` for one without content.
pub(super) fn value(format: Format, document: Text<'_>) -> Result<Value, Reason> {
    match format {
        Format::Yaml => yaml(document),
        Format::Json => serde_json::from_str(document.text).map_err(|error| Reason::Syntax {
            error: error.to_string(),
        }),
    }
}

fn split_yaml(text: &str) -> Vec<Text<'_>> {
    let mut documents = Vec::new();
    let mut add = |start: usize, end: usize, lines_before: usize, marked: bool| {
        let text = &text[start..end];
        if marked || text.lines().any(has_content) {
            let number = documents.len() + 1;
            documents.push(Text {
                number,
                lines_before,
                text,
            });
        }
    };
    let (mut start, mut lines_before, mut marked) = (0, 0, false);
    let mut offset = 0;
    for (line_number, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) {
            add(start, offset, lines_before, marked);
            (start, lines_before, marked) = (offset, line_number, true);
        }
        offset += line.len();
    }
    add(start, offset, lines_before, marked);
    documents
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

/// Before the first marker, comments and directives (`%YAML 1.2`) are no document.
fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with(['#', '%'])
}

fn split_json(text: &str) -> Result<Vec<Text<'_>>, Reason> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut documents = Vec::new();
    let mut start = 0;
    while let Some(value) = values.next() {
        value.map_err(|error| Reason::Syntax {
            error: error.to_string(),
        })?;
        let end = values.byte_offset();
        let number = documents.len() + 1;
        documents.push(Text {
            number,
            lines_before: 0,
            text: &text[start..end],
        });
        start = end;
    }
    Ok(documents)
}

fn yaml(document: Text<'_>) -> Result<Value, Reason> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits::CONFIG_DOCUMENT_DEPTH_MAX,
            flow_nesting_limit: limits::CONFIG_DOCUMENT_DEPTH_MAX,
            max_nodes: limits::CONFIG_DOCUMENT_NODES_MAX,
            max_events: 2 * limits::CONFIG_DOCUMENT_NODES_MAX,
            max_aliases: limits::CONFIG_ALIASES_MAX,
            max_anchors: limits::CONFIG_ALIASES_MAX,
            max_total_scalar_bytes: 2 * limits::CONFIG_DOCUMENT_BYTES_MAX,
            max_recorded_anchor_events: limits::CONFIG_ALIASED_NODES_MAX,
            max_merge_keys: limits::CONFIG_ALIASES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::CONFIG_ALIASED_NODES_MAX,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(document.text, options).map_err(|error| {
        let location = error.location();
        let mut text = error.without_snippet().to_string();
        if let Some(location) = location {
            let (line, column) = (location.line(), location.column());
            if let Some(bare) = text.strip_suffix(&format!(" at line {line}, column {column}")) {
                text.truncate(bare.len());
            }
            let line = document.lines_before as u64 + line;
            text = format!("line {line}, column {column}: {text}");
        }
        Reason::Syntax { error: text }
    })
}

#[cfg(test)]
mod tests;
