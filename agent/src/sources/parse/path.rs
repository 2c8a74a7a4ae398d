//! Where in an object a field is. Nothing is written until an error needs it.

use super::field::join;

/// `spec.rules[0].matches[1]`, as the last step and what it is below.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) fn root(key: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Key(key),
        }
    }

    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> Self {
        let parent = path
            .parent
            .map_or_else(Self::new, |parent| (*parent).into());
        match path.step {
            Step::Key(key) => join(&parent, key),
            Step::Index(index) => format!("{parent}[{index}]"),
        }
    }
}
