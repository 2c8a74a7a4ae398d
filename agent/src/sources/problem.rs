//! What a folder's author has to put right.

use std::{fmt, path::PathBuf};

use thiserror::Error;

use super::parse::{FieldReason, ObjectRef};

/// Something in a folder of manifests that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the folder; empty for the folder itself.
    pub file: PathBuf,
    /// From 1, as a person counts them; `None` for the file as a whole.
    pub document: Option<usize>,
    pub object: Option<ObjectRef>,
    /// `spec.portLevelMtls[8080].mode`; empty where no field is to blame.
    pub field: String,
    pub reason: Reason,
}

/// Why a file, a document or an object does not count.
#[derive(Clone, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    #[error("cannot be read: {error}; what it had stays")]
    Unreadable { error: String },
    #[error("cannot be parsed: {error}; what it had stays")]
    Syntax { error: String },
    #[error(
        "is empty, as a file is while it is being written; what it had stays until it is deleted or has text"
    )]
    Empty,
    #[error("has more than {bytes_max} bytes; what it had stays")]
    TooLarge { bytes_max: u64 },
    #[error("has a document of more than {bytes_max} bytes; what it had stays")]
    DocumentTooLarge { bytes_max: usize },
    #[error("has more than {documents_max} documents; what it had stays")]
    TooManyDocuments { documents_max: usize },
    #[error(
        "has more than {files_max} files of manifests; the rest, in the order of their names, is not read"
    )]
    TooManyFiles { files_max: usize },
    #[error("{0}")]
    Field(FieldReason),
    #[error("is in {first} already, which counts")]
    Duplicate { first: String },
}

impl Problem {
    /// What makes two problems the same one: a named object's document may move up and down.
    pub(super) fn identity(&self) -> Self {
        let named = self
            .object
            .as_ref()
            .is_some_and(|object| object.name.is_some());
        Self {
            document: self.document.filter(|_| !named),
            ..self.clone()
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.as_os_str().is_empty() {
            true => f.write_str("the folder")?,
            false => write!(f, "{}", self.file.display())?,
        }
        if let Some(document) = self.document {
            write!(f, ", document {document}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ", {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}
