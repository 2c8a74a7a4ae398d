//! When a changed file may be read: once it is written to its end.
//!
//! A file that is half written can be good YAML, with half of the objects. So a file that is
//! known to be open for writing is left alone until it is closed; of one of which the kernel says
//! nothing, two looks must find the same. Changes that come together are taken together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::listing::{Listing, Print};

/// A file is taken as written when it has looked the same for this long.
const SETTLED_AFTER: Duration = Duration::from_millis(60);
/// A file is taken as gone when it has been away for this long: some editors delete and write anew.
const GONE_AFTER: Duration = Duration::from_millis(200);
/// A writer that has begun and stopped, but not closed, is waited for for this long.
const WRITER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Files that have settled wait for others that have not, for this long at most.
const TOGETHER_MAX: Duration = Duration::from_millis(300);

/// What the kernel says has happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// Written to, and not known to be closed.
    Written,
    /// Closed by its writer, or put there by renaming.
    Finished,
    /// Deleted or renamed away.
    Left,
}

/// A file that can be read now.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) name: Arc<Path>,
    /// `None`: gone.
    pub(super) print: Option<Print>,
}

impl Due {
    /// Whether the file still is what the look found.
    pub(super) fn is_settled(&self, dir: &Path) -> bool {
        self.print.is_none() || Print::of(&dir.join(&self.name)) == self.print
    }
}

/// Which files differ from what was taken in, and since when.
#[derive(Debug, Default)]
pub(super) struct Settle {
    taken: BTreeMap<Arc<Path>, Print>,
    waiting: BTreeMap<Arc<Path>, Waiting>,
    writers: HashMap<Box<Path>, Writer>,
    /// Written to since they were read, even if they look the same: within one tick of the
    /// kernel's clock they do.
    suspect: BTreeSet<Box<Path>>,
}

#[derive(Debug)]
struct Waiting {
    print: Option<Print>,
    /// Since when it has looked like `print`.
    same_since: Instant,
    /// Since when it has differed from what was taken.
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Writer {
    Writing(Instant),
    Finished,
}

impl Settle {
    pub(super) fn happened(&mut self, name: &Path, what: Happened, now: Instant) {
        match what {
            Happened::Written => self.writers.insert(name.into(), Writer::Writing(now)),
            Happened::Finished => self.writers.insert(name.into(), Writer::Finished),
            Happened::Left => self.writers.remove(name),
        };
        self.suspect.insert(name.into());
    }

    /// Events were lost: nothing is known of any writer.
    pub(super) fn forget_writers(&mut self) {
        self.writers.clear();
    }

    /// Everything there is, settled or not.
    pub(super) fn all(&mut self, listing: &Listing) -> Vec<Due> {
        let files = listing.files.iter().flatten();
        files
            .map(|(name, print)| Due {
                name: Arc::clone(name),
                print: Some(print.clone()),
            })
            .collect()
    }

    /// What may be read now.
    pub(super) fn due(&mut self, listing: &Listing, now: Instant) -> Vec<Due> {
        if let Some(files) = &listing.files {
            self.compare(files, now);
        }
        let (ready, unready): (Vec<_>, Vec<_>) = self
            .waiting
            .iter()
            .partition(|(name, waiting)| self.wait(name, waiting, now).is_zero());
        let together = unready
            .iter()
            .any(|(_, waiting)| now.duration_since(waiting.since) < TOGETHER_MAX);
        let overdue = ready
            .iter()
            .any(|(_, waiting)| now.duration_since(waiting.since) >= TOGETHER_MAX);
        if together && !overdue {
            return Vec::new();
        }
        let due = |(name, waiting): (&Arc<Path>, &Waiting)| Due {
            name: Arc::clone(name),
            print: waiting.print.clone(),
        };
        ready.into_iter().map(due).collect()
    }

    /// `file` has been taken in as it was found.
    pub(super) fn taken(&mut self, file: &Due) {
        self.waiting.remove(&file.name);
        self.writers.remove(&*file.name);
        match &file.print {
            Some(print) => self.taken.insert(Arc::clone(&file.name), print.clone()),
            None => self.taken.remove(&file.name),
        };
    }

    /// When the next waiting file may be ready; `None` if none waits.
    pub(super) fn next_due(&self, now: Instant) -> Option<Duration> {
        const SOON: Duration = Duration::from_millis(10);
        self.waiting
            .iter()
            .map(|(name, waiting)| self.wait(name, waiting, now).max(SOON))
            .min()
    }

    fn compare(&mut self, files: &BTreeMap<Arc<Path>, Print>, now: Instant) {
        let suspect = std::mem::take(&mut self.suspect);
        for (name, print) in files {
            let same = self.taken.get(name) == Some(print) && !suspect.contains(&**name);
            // A suspect stays one until it has been read.
            if same
                && self
                    .waiting
                    .get(name)
                    .is_none_or(|waiting| waiting.print.as_ref() != Some(print))
            {
                self.waiting.remove(name);
            } else if !same {
                self.wait_for(name, Some(print), now);
            }
        }
        let gone: Vec<Arc<Path>> = self
            .taken
            .keys()
            .filter(|name| !files.contains_key(*name))
            .cloned()
            .collect();
        for name in &gone {
            self.wait_for(name, None, now);
        }
        // Came and went between two looks.
        self.waiting
            .retain(|name, _| files.contains_key(name) || self.taken.contains_key(name));
        self.writers
            .retain(|name, _| files.contains_key(&**name) || self.taken.contains_key(&**name));
    }

    fn wait_for(&mut self, name: &Arc<Path>, print: Option<&Print>, now: Instant) {
        let waiting = self
            .waiting
            .entry(Arc::clone(name))
            .or_insert_with(|| Waiting {
                print: print.cloned(),
                same_since: now,
                since: now,
            });
        if waiting.print.as_ref() != print {
            waiting.print = print.cloned();
            waiting.same_since = now;
        }
    }

    /// How long until `name` may be read, by what is known now; zero: at once.
    fn wait(&self, name: &Path, waiting: &Waiting, now: Instant) -> Duration {
        let left = |since: Instant, wait: Duration| wait.saturating_sub(now.duration_since(since));
        let is_file = matches!(waiting.print, Some(Print::File { .. }));
        match self.writers.get(name) {
            Some(Writer::Finished) if is_file => Duration::ZERO,
            Some(Writer::Writing(last)) if is_file => left(*last, WRITER_WAIT_MAX),
            _ if is_file => left(waiting.same_since, SETTLED_AFTER),
            _ => left(waiting.same_since, GONE_AFTER),
        }
    }
}

#[cfg(test)]
mod tests;
