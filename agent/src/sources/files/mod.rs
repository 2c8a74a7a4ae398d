//! A folder of manifests, watched: the model's source without Kubernetes.
//!
//! Every `*.yaml`, `*.yml` and `*.json` of the folder itself, as `kubectl apply -f` reads it: not
//! in folders below, no names that begin with a dot. Links are followed, so that a mounted
//! ConfigMap works, which is replaced by renaming the link `..data`.
//!
//! The way of a change: [`watch`] (the kernel's word, and a look every half second because that
//! word can be missing) → [`settle`] (is it written to its end?) → [`read`] (text → objects) →
//! [`folder`] (what that changes, whose word counts, what is refused) → one `Delta`.

mod document;
mod folder;
mod listing;
mod read;
mod report;
mod settle;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::{folder::Folder, listing::Listing, report::Report, settle::Settle, watch::Watch};
use super::Problem;
use crate::model::{
    resource::Delta,
    seams::{DeltaSink, Source},
};

pub(super) use self::folder::Census;

/// After the last event of a burst; what belongs together usually comes together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A burst without end does not hold changes back for longer.
const DEBOUNCE_MAX: Duration = Duration::from_millis(250);
/// How often the folder is looked at without an event: for file systems that send none, and
/// for links to files elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking costs at most this share of one core: a folder of many files is looked at less often.
const LOOK_SHARE: u32 = 25;

/// The [`Source`] of `weir agent --config DIR`.
#[derive(Debug)]
pub struct FolderSource {
    dir: PathBuf,
    stopped: Arc<AtomicBool>,
}

/// Ends the source within half a second; dropping it does nothing.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl FolderSource {
    /// `dir` is made where it does not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            stopped: Arc::default(),
        }
    }

    pub fn stop_handle(&self) -> Stop {
        Stop(Arc::clone(&self.stopped))
    }
}

impl Source for FolderSource {
    fn run(self: Box<Self>, mut sink: Box<dyn DeltaSink>) {
        if let Err(error) = std::fs::create_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot make the configuration folder");
        }
        let mut watch = Watch::new(&self.dir);
        let mut state = State::default();
        let mut look_again = Duration::ZERO;
        while !self.stopped.load(Ordering::Relaxed) {
            watch.wait(look_again, &mut state.settle);
            let started = Instant::now();
            let delta = state.look(&self.dir, &mut watch, started);
            if delta.is_some_and(|delta| !sink.send(delta)) {
                return;
            }
            let pause = LOOK_EVERY.max(started.elapsed() * LOOK_SHARE);
            look_again = state
                .settle
                .next_due(Instant::now())
                .map_or(pause, |due| due.min(pause));
        }
    }
}

/// Everything that the source remembers from look to look.
#[derive(Default)]
struct State {
    folder: Folder,
    settle: Settle,
    report: Report,
    synced: bool,
}

impl State {
    /// Looks at the folder once and takes in what has settled.
    fn look(&mut self, dir: &Path, watch: &mut Watch, now: Instant) -> Option<Delta> {
        let listing = Listing::of(dir);
        if let Some(folder) = listing.folder {
            watch.follow(dir, folder);
        }
        // Before the first delta nothing runs that a half-written file could disturb, and readers
        // notice when a file changes under them.
        let due = if self.synced {
            self.settle.due(&listing, now)
        } else {
            self.settle.all(&listing)
        };
        let contents = read::all(dir, due, &self.folder);
        // What was written while it was read comes again once it has settled.
        let (settled, _changed): (Vec<_>, Vec<_>) = contents
            .into_iter()
            .partition(|(file, _)| file.is_settled(dir));
        for (file, _) in &settled {
            self.settle.taken(file);
        }
        let mut update = self.folder.update(settled, listing.problem);
        self.report.tell(&update);
        let first = !std::mem::replace(&mut self.synced, true);
        update.delta.synced = true;
        (first || update.changed).then_some(update.delta)
    }
}

/// What a folder has, read once.
pub(super) struct Once {
    pub(super) census: Census,
    pub(super) problems: Vec<Problem>,
    pub(super) delta: Delta,
}

/// Reads `dir` once and says nothing.
pub(super) fn once(dir: &Path) -> Once {
    let mut folder = Folder::default();
    let listing = Listing::of(dir);
    let contents = read::all(dir, Settle::default().all(&listing), &folder);
    let update = folder.update(contents, listing.problem);
    Once {
        census: folder.census(),
        problems: update.problems.into_values().flatten().collect(),
        delta: update.delta,
    }
}

#[cfg(test)]
mod tests;
