//! The files that are due → what is in them.

use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
    path::Path,
    sync::Arc,
    thread,
};

use serde_json::Value;

use super::{
    document::{self, Format, Text},
    folder::Folder,
    listing::Print,
    settle::Due,
};
use crate::{
    model::{
        limits,
        resource::{Resource, ResourceKey},
    },
    sources::{
        Reason,
        parse::{self, IdleKind, Manifest, ObjectRef, Rejected, Strings},
    },
};

/// Below this it is not worth starting threads.
const PARALLEL_BYTES_MIN: u64 = 1 << 20;

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    Gone,
    /// With the number of the document to blame, where it is one.
    Failed(Option<usize>, Reason),
    Documents(Vec<Document>),
}

/// One document of a file, in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) number: usize,
    /// Of its text: while that stays, the document need not be parsed again.
    hash: u64,
    pub(super) items: Box<[Item]>,
}

/// One object: a document has one, or as many as its list has items.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Object(ResourceKey, Resource),
    Idle(IdleKind, ObjectRef),
    Foreign,
    Rejected(Box<Rejected>),
}

/// Reads `due`, on all cores where there is much. Documents that `folder` has already are not
/// parsed again.
pub(super) fn all(dir: &Path, due: Vec<Due>, folder: &Folder) -> Vec<(Due, Content)> {
    let bytes: u64 = due.iter().map(bytes).sum();
    let threads = match thread::available_parallelism() {
        Ok(cores) if bytes >= PARALLEL_BYTES_MIN => cores.get().min(due.len()),
        _ => 1,
    };
    let read = |due: Vec<Due>| -> Vec<(Due, Content)> {
        let mut strings = Strings::default();
        due.into_iter()
            .map(|due| {
                let content = one(dir, &due, folder, &mut strings);
                (due, content)
            })
            .collect()
    };
    if threads <= 1 {
        return read(due);
    }
    let mut shares: Vec<Vec<Due>> = vec![Vec::new(); threads];
    for (index, due) in due.into_iter().enumerate() {
        shares[index % threads].push(due);
    }
    thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| read(share)))
            .collect();
        let done = running.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let mut contents: Vec<_> = done.flatten().collect();
        contents.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        contents
    })
}

fn bytes(due: &Due) -> u64 {
    match &due.print {
        Some(Print::File { bytes, .. }) => *bytes,
        Some(Print::Broken(_)) | None => 0,
    }
}

fn one(dir: &Path, due: &Due, folder: &Folder, strings: &mut Strings) -> Content {
    if due.print.is_none() {
        return Content::Gone;
    }
    let text = match text(&dir.join(&due.name)) {
        Ok(text) => text,
        Err(reason) => return Content::Failed(None, reason),
    };
    match documents(&due.name, &text, folder, strings) {
        Ok(documents) => Content::Documents(documents),
        Err((document, reason)) => Content::Failed(document, reason),
    }
}

fn text(path: &Path) -> Result<String, Reason> {
    let unreadable = |error: std::io::Error| Reason::Unreadable {
        error: error.to_string(),
    };
    let file = File::open(path).map_err(unreadable)?;
    let bytes_max = limits::CONFIG_FILE_BYTES_MAX;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    if bytes.len() as u64 > bytes_max {
        return Err(Reason::TooLarge { bytes_max });
    }
    String::from_utf8(bytes).map_err(|error| Reason::Syntax {
        error: error.to_string(),
    })
}

fn documents(
    name: &Arc<Path>,
    text: &str,
    folder: &Folder,
    strings: &mut Strings,
) -> Result<Vec<Document>, (Option<usize>, Reason)> {
    let format = match name.extension() {
        Some(extension) if extension == "json" => Format::Json,
        _ => Format::Yaml,
    };
    let texts = document::split(format, text).map_err(|reason| (None, reason))?;
    let known = folder.documents(name);
    texts
        .into_iter()
        .map(|text| {
            let hash = folder.hasher().hash_one(text.text);
            let items = match known.get(&hash) {
                Some(known) => known.items.clone(),
                None => {
                    items(format, text, strings).map_err(|reason| (Some(text.number), reason))?
                }
            };
            Ok(Document {
                number: text.number,
                hash,
                items,
            })
        })
        .collect()
}

fn items(format: Format, text: Text<'_>, strings: &mut Strings) -> Result<Box<[Item]>, Reason> {
    let value = document::value(format, text)?;
    let mut items = Vec::new();
    if !value.is_null() {
        add_items(&value, "", strings, &mut items);
    }
    Ok(items.into())
}

/// `path`: where in the document `value` is.
fn add_items(value: &Value, path: &str, strings: &mut Strings, items: &mut Vec<Item>) {
    let reject = |mut rejected: Box<Rejected>| {
        for error in &mut rejected.errors {
            error.path = match (path, error.path.as_str()) {
                ("", _) => continue,
                (path, "") => path.to_owned(),
                (path, field) => format!("{path}.{field}"),
            };
        }
        Item::Rejected(rejected)
    };
    match parse::manifest(value, strings) {
        Ok(Manifest::Object(key, resource)) => items.push(Item::Object(key, resource)),
        Ok(Manifest::Foreign) => items.push(Item::Foreign),
        Ok(Manifest::Idle(kind, name)) => {
            let object = ObjectRef {
                kind: kind.name().to_owned(),
                name: Some(name),
            };
            items.push(Item::Idle(kind, object));
        }
        Ok(Manifest::List) => match parse::items(value) {
            Ok(list) => {
                for (index, item) in list.enumerate() {
                    let path = match path {
                        "" => format!("items[{index}]"),
                        path => format!("{path}.items[{index}]"),
                    };
                    add_items(&item, &path, strings, items);
                }
            }
            Err(error) => {
                let rejected = Rejected {
                    object: None,
                    key: None,
                    errors: vec![error],
                    instead: None,
                };
                items.push(reject(rejected.into()));
            }
        },
        Err(rejected) => items.push(reject(rejected)),
    }
}

impl Item {
    pub(super) fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Object(..) | Self::Idle(..) | Self::Foreign => None,
        }
    }
}

impl Document {
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// Keyed at random, so that no one can write two texts of one hash.
pub(super) type Hasher = RandomState;
