use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{GONE_AFTER, Happened, Print, SETTLED_AFTER, Settle, TOGETHER_MAX, WRITER_WAIT_MAX};
use crate::sources::files::listing::Listing;

/// Steps a clock and a folder that is described by names and versions.
struct World {
    settle: Settle,
    now: Instant,
}

fn listing(files: &[(&str, u64)]) -> Listing {
    let print = |version| Print::File {
        device: 0,
        inode: 0,
        bytes: version,
        changed: (0, 0),
        modified: (0, 0),
    };
    let files = files
        .iter()
        .map(|(name, version)| (Path::new(name).into(), print(*version)))
        .collect();
    Listing {
        files: Some(files),
        ..Listing::default()
    }
}

impl World {
    /// A folder whose files have been taken in.
    fn with(files: &[(&str, u64)]) -> Self {
        let mut settle = Settle::default();
        let all = settle.all(&listing(files));
        all.iter().for_each(|file| settle.taken(file));
        Self {
            settle,
            now: Instant::now(),
        }
    }

    fn happened(&mut self, name: &str, what: Happened) {
        self.settle.happened(Path::new(name), what, self.now);
    }

    /// What is due after `wait`; it is taken in.
    fn after(&mut self, wait: Duration, files: &[(&str, u64)]) -> Vec<String> {
        self.now += wait;
        let due = self.settle.due(&listing(files), self.now);
        due.iter().for_each(|file| self.settle.taken(file));
        due.into_iter()
            .map(|file| file.name.display().to_string())
            .collect()
    }

    fn at_once(&mut self, files: &[(&str, u64)]) -> Vec<String> {
        self.after(Duration::ZERO, files)
    }
}

const NONE: [&str; 0] = [];

#[test]
fn what_has_not_changed_is_not_due() {
    let mut world = World::with(&[("a", 1)]);
    assert_eq!(world.at_once(&[("a", 1)]), NONE);
    assert_eq!(world.settle.next_due(world.now), None);
}

#[test]
fn a_closed_file_is_due_at_once() {
    let mut world = World::with(&[("a", 1)]);
    world.happened("a", Happened::Written);
    world.happened("a", Happened::Finished);
    assert_eq!(world.at_once(&[("a", 2)]), ["a"]);
    assert_eq!(world.at_once(&[("a", 2)]), NONE);
}

#[test]
fn a_file_that_is_being_written_waits_for_its_writer() {
    let mut world = World::with(&[("a", 1)]);
    world.happened("a", Happened::Written);
    assert_eq!(world.at_once(&[("a", 2)]), NONE);
    assert_eq!(world.after(WRITER_WAIT_MAX / 2, &[("a", 2)]), NONE);
    world.happened("a", Happened::Finished);
    assert_eq!(world.at_once(&[("a", 2)]), ["a"]);
}

#[test]
fn a_writer_that_never_closes_is_not_waited_for_without_end() {
    let mut world = World::with(&[("a", 1)]);
    world.happened("a", Happened::Written);
    assert_eq!(world.at_once(&[("a", 2)]), NONE);
    assert_eq!(world.after(WRITER_WAIT_MAX, &[("a", 2)]), ["a"]);
}

#[test]
fn without_the_kernels_word_two_looks_must_agree() {
    let mut world = World::with(&[("a", 1)]);
    assert_eq!(world.at_once(&[("a", 2)]), NONE);
    assert_eq!(world.after(SETTLED_AFTER, &[("a", 3)]), NONE);
    assert_eq!(world.settle.next_due(world.now), Some(SETTLED_AFTER));
    assert_eq!(world.after(SETTLED_AFTER, &[("a", 3)]), ["a"]);
}

#[test]
fn a_file_that_is_gone_may_come_back() {
    let mut world = World::with(&[("a", 1)]);
    assert_eq!(world.at_once(&[]), NONE);
    assert_eq!(world.after(GONE_AFTER / 2, &[("a", 1)]), NONE);
    assert_eq!(world.settle.next_due(world.now), None);
    assert_eq!(world.at_once(&[]), NONE);
    assert_eq!(world.after(GONE_AFTER, &[]), ["a"]);
    assert_eq!(world.after(GONE_AFTER, &[]), NONE);
}

#[test]
fn what_looks_the_same_is_read_again_when_it_was_written_to() {
    let mut world = World::with(&[("a", 1)]);
    world.happened("a", Happened::Written);
    world.happened("a", Happened::Finished);
    assert_eq!(world.at_once(&[("a", 1)]), ["a"]);
    world.happened("a", Happened::Written);
    assert_eq!(world.at_once(&[("a", 1)]), NONE);
    assert_eq!(world.after(WRITER_WAIT_MAX, &[("a", 1)]), ["a"]);
}

#[test]
fn changes_that_come_together_are_taken_together() {
    let mut world = World::with(&[("a", 1), ("b", 1)]);
    world.happened("a", Happened::Finished);
    world.happened("b", Happened::Written);
    assert_eq!(world.at_once(&[("a", 2), ("b", 2)]), NONE);
    world.happened("b", Happened::Finished);
    assert_eq!(world.at_once(&[("a", 2), ("b", 2)]), ["a", "b"]);
}

#[test]
fn a_slow_writer_holds_the_others_back_for_a_moment_only() {
    let mut world = World::with(&[("a", 1), ("b", 1)]);
    world.happened("a", Happened::Finished);
    world.happened("b", Happened::Written);
    assert_eq!(world.at_once(&[("a", 2), ("b", 2)]), NONE);
    assert_eq!(world.after(TOGETHER_MAX, &[("a", 2), ("b", 2)]), ["a"]);
}

#[test]
fn an_unreadable_folder_removes_nothing() {
    let mut world = World::with(&[("a", 1)]);
    world.now += GONE_AFTER * 2;
    assert!(world.settle.due(&Listing::default(), world.now).is_empty());
    world.now += GONE_AFTER * 2;
    assert!(world.settle.due(&Listing::default(), world.now).is_empty());
}
