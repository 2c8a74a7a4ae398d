//! What is in the folder, and whether it is what was there at the last look.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    model::limits,
    sources::{Problem, Reason},
};

/// One look at the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// `None` while the folder cannot be read: then nothing is known, and nothing removed.
    pub(super) files: Option<BTreeMap<Arc<Path>, Print>>,
    /// Device and inode of the folder itself, which may be replaced as a whole.
    pub(super) folder: Option<(u64, u64)>,
    pub(super) problem: Option<Problem>,
}

/// Tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Print {
    File {
        device: u64,
        inode: u64,
        bytes: u64,
        /// Seconds and nanoseconds. The time of change, unlike that of modification, cannot be
        /// set by a program that copies.
        changed: (i64, i64),
        modified: (i64, i64),
    },
    /// There, but it cannot be looked at: a link to nowhere, a lack of permission.
    Broken(io::ErrorKind),
}

impl Print {
    /// `None` for what is no file: folders, sockets, pipes.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(meta) => meta.is_file().then(|| Self::of_metadata(&meta)),
            Err(error) => Some(Self::Broken(error.kind())),
        }
    }

    fn of_metadata(meta: &Metadata) -> Self {
        Self::File {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::File { bytes: 0, .. })
    }
}

impl Listing {
    pub(super) fn of(dir: &Path) -> Self {
        let listed = fs::metadata(dir).and_then(|meta| Ok((meta, names(dir)?)));
        let (meta, names) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let reason = Reason::Unreadable {
                    error: error.to_string(),
                };
                return Self {
                    problem: Some(of_folder(reason)),
                    ..Self::default()
                };
            }
        };
        let files_max = limits::CONFIG_FILES_MAX;
        let problem =
            (names.len() > files_max).then(|| of_folder(Reason::TooManyFiles { files_max }));
        let names = names.into_iter().take(files_max);
        let files = names
            .filter_map(|name| Print::of(&dir.join(&name)).map(|print| (name.into(), print)))
            .collect();
        Self {
            files: Some(files),
            folder: Some((meta.dev(), meta.ino())),
            problem,
        }
    }
}

/// The names of manifests, in order.
fn names(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = PathBuf::from(entry?.file_name());
        if is_manifest(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Names that begin with a dot are what editors and kubelets put there for themselves.
pub(super) fn is_manifest(name: &Path) -> bool {
    let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
    let extension = name.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn of_folder(reason: Reason) -> Problem {
    Problem {
        file: PathBuf::new(),
        document: None,
        object: None,
        field: String::new(),
        reason,
    }
}
