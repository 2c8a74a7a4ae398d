//! The kernel's word that something in the folder has changed.

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::{
    DEBOUNCE, DEBOUNCE_MAX,
    listing::{Print, is_manifest},
    settle::{Happened, Settle},
};

/// Watches the folder itself. Without it (no inotify left, say) the regular looks remain.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    events: Receiver<notify::Result<Event>>,
    /// The folder that is watched: a path can come to mean another one.
    folder: Option<(u64, u64)>,
}

impl Watch {
    pub(super) fn new(dir: &Path) -> Self {
        let (sender, events) = mpsc::channel();
        let watcher = notify::recommended_watcher(sender);
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(
                dir = %dir.display(), %error,
                "cannot watch the configuration folder; it is looked at twice a second instead \
                 (raise fs.inotify.max_user_instances)"
            );
        });
        let mut watch = Self {
            watcher: watcher.ok(),
            events,
            folder: None,
        };
        // Before the first look, so that no change falls between the two.
        watch.start(dir);
        watch
    }

    /// Watches `dir` anew where the path has come to mean another folder.
    pub(super) fn follow(&mut self, dir: &Path, folder: (u64, u64)) {
        if self
            .folder
            .replace(folder)
            .is_some_and(|before| before != folder)
        {
            if let Some(watcher) = &mut self.watcher {
                // An error says that the old folder is gone, and its watch with it.
                let _ = watcher.unwatch(dir);
            }
            self.start(dir);
        }
    }

    fn start(&mut self, dir: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        if let Err(error) = watcher.watch(dir, RecursiveMode::NonRecursive) {
            tracing::warn!(
                dir = %dir.display(), %error,
                "cannot watch the configuration folder; it is looked at twice a second instead \
                 (raise fs.inotify.max_user_watches)"
            );
        }
    }

    /// Waits until something has happened and calmed down, or `wait` is over.
    pub(super) fn wait(&mut self, wait: Duration, settle: &mut Settle) {
        let started = Instant::now();
        let mut deadline = started + wait;
        let mut first_event = None;
        loop {
            let now = Instant::now();
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(now))
            {
                // Reading the folder causes events as well: they are no reason to read it again.
                Ok(event) if is_only_a_look(&event) => {}
                Ok(event) => {
                    let now = Instant::now();
                    note(event, settle, now);
                    let first = *first_event.get_or_insert(now);
                    deadline = (now + DEBOUNCE).min(first + DEBOUNCE_MAX);
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(deadline.saturating_duration_since(now));
                    return;
                }
            }
        }
    }
}

fn is_only_a_look(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(event) => {
            event.kind.is_access()
                && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
        }
        Err(_) => false,
    }
}

fn note(event: notify::Result<Event>, settle: &mut Settle, now: Instant) {
    let Ok(event) = event else { return };
    if event.need_rescan() {
        settle.forget_writers();
    }
    let happened = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Happened::Finished,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
            Happened::Left
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Happened::Finished,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => {
            Happened::Written
        }
        EventKind::Create(_) => {
            // A file is made empty and then written; a link comes whole.
            let empty = |path: &Path| Print::of(path).is_some_and(|print| print.is_empty());
            if !event.paths.iter().any(|path| empty(path)) {
                return;
            }
            Happened::Written
        }
        _ => return,
    };
    for path in &event.paths {
        let name = path.file_name().map(Path::new);
        if let Some(name) = name.filter(|name| is_manifest(name)) {
            settle.happened(name, happened, now);
        }
    }
}
