//! `/debug/explain`: what would become of a request under the configuration in force.

use std::time::SystemTime;

use thiserror::Error;

use crate::{
    model::snapshot::Snapshot,
    traffic::{
        explain::{self, Question, QuestionError},
        form,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Json,
    Text,
}

#[derive(Debug)]
pub(super) struct Asked {
    question: Question,
    pub(super) output: Output,
}

/// Why the query asks nothing.
#[derive(Debug, Error)]
pub(super) enum QueryError {
    #[error("{0} is missing: ?from=NAMESPACE/POD&to=URL")]
    Missing(&'static str),
    #[error("output is json or text, not {0:?}")]
    Output(String),
    #[error("there is no parameter {0:?}: they are from, to, method, header and output")]
    Unknown(String),
    #[error(transparent)]
    Question(#[from] QuestionError),
}

impl Asked {
    /// Of `from`, `to`, `method`, any number of `header`, and `output`.
    pub(super) fn read(query: &str) -> Result<Self, QueryError> {
        let (mut from, mut to, mut method, mut headers) = (None, None, None, Vec::new());
        let mut output = Output::Json;
        for (name, value) in form::pairs(query) {
            match name.as_str() {
                "from" => from = Some(value),
                "to" => to = Some(value),
                "method" => method = Some(value),
                "header" => headers.push(value),
                "output" => {
                    output = match value.as_str() {
                        "json" => Output::Json,
                        "text" => Output::Text,
                        _ => return Err(QueryError::Output(value)),
                    }
                }
                _ => return Err(QueryError::Unknown(name)),
            }
        }
        let from = from.ok_or(QueryError::Missing("from"))?;
        let to = to.ok_or(QueryError::Missing("to"))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_unix = now.map_or(0, |since| since.as_secs());
        let question = Question::new(&from, &to, method.as_deref(), &headers, now_unix)?;
        Ok(Self { question, output })
    }

    pub(super) fn answer(&self, snapshot: &Snapshot) -> Vec<u8> {
        let explanation = explain::explain(snapshot, &self.question);
        match self.output {
            Output::Text => explanation.to_string().into_bytes(),
            Output::Json => {
                let mut body = serde_json::to_vec_pretty(&explanation).unwrap_or_default();
                body.push(b'\n');
                body
            }
        }
    }
}
