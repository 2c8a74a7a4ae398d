//! What is wrong with which field.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::Segment;
use thiserror::Error;

use crate::model::duration::{self, DurationError};

/// A field and why it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldError {
    /// `spec.portLevelMtls[8080].mode`; empty for the object as a whole.
    pub path: String,
    pub reason: FieldReason,
}

#[derive(Clone, Debug, Error, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldReason {
    /// Wrong type or unknown field, in serde's words.
    #[error("{0}")]
    Shape(String),
    #[error("a Kubernetes object is a mapping with apiVersion, kind and metadata")]
    NotAnObject,
    #[error("is required")]
    Required,
    #[error("{value:?} is not a kind of {api_version}; did you mean {meant:?}?")]
    Kind {
        value: String,
        api_version: String,
        meant: &'static str,
    },
    #[error("{kind} is not read in {value:?}; write {meant:?}")]
    ApiVersion {
        value: String,
        kind: String,
        meant: String,
    },
    #[error("{value:?} is not one of {allowed}")]
    NotOneOf {
        value: String,
        allowed: &'static str,
    },
    #[error("{value:?} is not a name: lower-case letters, digits and dashes{}, at most {bytes_max} bytes", if *.dots { ", with dots between" } else { "" })]
    Name {
        value: String,
        dots: bool,
        bytes_max: usize,
    },
    #[error("{value:?} is not a port: a whole number from 1 to 65535")]
    Port { value: String },
    #[error("{value:?} is not an IP address that a pod or service can have")]
    Address { value: String },
    #[error("{value:?} is not an address range such as 10.0.0.0/8")]
    Cidr { value: String },
    #[error("{value:?} is not an absolute path")]
    Path { value: String },
    #[error("{value:?} is not a weight: a whole number from 0 to {max}")]
    Weight { value: String, max: u16 },
    #[error("{value:?} is not a process id")]
    ProcessId { value: String },
    #[error("{value:?} is not a time such as 2026-01-31T12:00:00Z")]
    Time { value: String },
    #[error(
        "{value:?} is not a trust domain: lower-case letters, digits, dots, dashes and underscores"
    )]
    TrustDomain { value: String },
    #[error("{value:?} is not a percentage from 0 to 100")]
    Percent { value: String },
    #[error("{value:?} is not a field of the access log; docs/guides/access-log.md has them all")]
    NotAField { value: String },
    #[error(
        "{value:?} is not a collector such as http://collector.observability:4317; a path is for protocol http alone"
    )]
    Collector { value: String },
    #[error("{value:?} is there twice")]
    Twice { value: String },
    #[error("counts only together with spec.selector.matchLabels")]
    NeedsSelector,
    #[error("has more than {max} items")]
    TooMany { max: usize },
    #[error("have more than {max} matches in all")]
    TooManyMatches { max: usize },
    #[error("is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("{value} is not a whole number from {min} to {max}")]
    Range { value: i64, min: u32, max: u32 },
    #[error("{0}")]
    Duration(DurationError),
    #[error("{value:?} is not a duration from {} to {}{}", duration::text(*.min), duration::text(*.max), if *.or_zero { ", or 0s" } else { "" })]
    DurationRange {
        value: String,
        min: Duration,
        max: Duration,
        or_zero: bool,
    },
    #[error("{value:?} is not a size of {min} to {max} bytes, such as 65536, 64Ki or 1M")]
    Size {
        value: String,
        min: usize,
        max: usize,
    },
    #[error("is longer than {other}")]
    LongerThan { other: &'static str },
    #[error("needs exactly one of {of}")]
    ExactlyOne { of: &'static str },
    #[error("counts for a service as a whole: target the Service, not a rule")]
    PerService,
    #[error("a policy's targets are of its own namespace: leave it out")]
    OwnNamespace,
    #[error("this version does not do it yet")]
    NotYet,
    #[error("is longer than the timeout of the whole request")]
    LongerThanRequest,
    #[error("{value:?} is an address, not the name of a host")]
    Hostname { value: String },
    #[error(
        "{value:?} is not a path to match: one begins with a slash, and has no //, /./, /../, %2F, and nothing that must be percent-encoded in a URL's path"
    )]
    PathMatch { value: String },
    #[error(
        "{value:?} is not a path: one begins with a slash, and has nothing that must be percent-encoded in a URL's path"
    )]
    PathText { value: String },
    #[error("{value:?} is not a regular expression in RE2's syntax: {error}")]
    Pattern { value: String, error: String },
    #[error("{value:?} belongs to one connection, not to the message: it cannot be modified")]
    ConnectionHeader { value: String },
    #[error("{value:?} is not the name of an HTTP header (RFC 9110: a token)")]
    HeaderName { value: String },
    #[error("{value:?} is not the value of an HTTP header: visible ASCII, spaces and tabs")]
    HeaderValue { value: String },
    #[error("{value:?} is not a name of protobuf: letters, digits and underscores")]
    GrpcName { value: String },
    #[error("needs a service, a method or both")]
    NeedsServiceOrMethod,
    #[error("{value:?} is not an origin such as https://shop.example, https://*.example or *")]
    Origin { value: String },
    #[error("cannot be together with {with}")]
    NotTogether { with: String },
    #[error("must be one match of type PathPrefix, which replacePrefixMatch replaces")]
    NeedsPrefixMatch,
    #[error("is not supported")]
    Unsupported,
}

/// Collects what is wrong with one object.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn add(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub(super) fn push(&mut self, path: impl Into<String>, reason: FieldReason) {
        self.0.push(FieldError {
            path: path.into(),
            reason,
        });
    }

    pub(super) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// The narrow struct of a kind; strings are borrowed from `value`.
    pub(super) fn shape<'a, T: Deserialize<'a>>(&mut self, value: &'a Value) -> Option<T> {
        match serde_path_to_error::deserialize(value) {
            Ok(shape) => Some(shape),
            Err(error) => {
                let path = path(error.path().iter());
                // Borrowed or not is serde's business, not the reader's.
                let text = error
                    .into_inner()
                    .to_string()
                    .replace("a borrowed string", "a string");
                self.push(path, FieldReason::Shape(text));
                None
            }
        }
    }
}

fn path<'a>(segments: impl Iterator<Item = &'a Segment>) -> String {
    segments.fold(String::new(), |path, segment| match segment {
        Segment::Seq { index } => format!("{path}[{index}]"),
        Segment::Map { key } | Segment::Enum { variant: key } => join(&path, key),
        Segment::Unknown => path,
    })
}

/// `key` below `path`: dotted where it reads as a field, else in brackets.
pub(super) fn join(path: &str, key: &str) -> String {
    let is_field = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    match (is_field, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key}]"),
    }
}
