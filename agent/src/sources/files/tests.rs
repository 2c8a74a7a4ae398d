//! The source as a whole, on folders that change while it runs. Waiting is for outcomes, with a
//! deadline; what must not happen is told from a later change that does.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{FolderSource, Stop};
use crate::model::{
    fold::Fold,
    resource::Delta,
    seams::{DeltaSink, Source},
    snapshot::Snapshot,
};

/// Far above what it takes, for busy machines.
const DEADLINE: Duration = Duration::from_secs(20);

struct Sink(mpsc::Sender<Delta>);

impl DeltaSink for Sink {
    fn send(&mut self, delta: Delta) -> bool {
        self.0.send(delta).is_ok()
    }
}

/// A source that runs, and what its deltas have come to.
struct Running {
    deltas: mpsc::Receiver<Delta>,
    fold: Fold,
    snapshot: std::sync::Arc<Snapshot>,
    stop: Stop,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let source = FolderSource::new(dir);
        let stop = source.stop_handle();
        let (sender, deltas) = mpsc::channel();
        let thread = thread::spawn(move || Box::new(source).run(Box::new(Sink(sender))));
        let mut running = Self {
            deltas,
            fold: Fold::new("cluster.local", "n1"),
            snapshot: Default::default(),
            stop,
            thread: Some(thread),
        };
        running.next();
        running
    }

    fn next(&mut self) {
        let delta = self.deltas.recv_timeout(DEADLINE).expect("a delta in time");
        assert!(delta.synced);
        self.snapshot = self.fold.apply(delta, Instant::now());
    }

    /// Waits until exactly these services are there, and so many objects are refused.
    fn until(&mut self, services: &[&str], rejected: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.services() != services || self.snapshot.rejected != rejected {
            assert!(
                Instant::now() < deadline,
                "{:?}, {} refused; wanted {services:?}, {rejected}",
                self.services(),
                self.snapshot.rejected
            );
            if let Ok(delta) = self.deltas.recv_timeout(Duration::from_millis(100)) {
                self.snapshot = self.fold.apply(delta, Instant::now());
            }
        }
    }

    fn services(&self) -> Vec<String> {
        self.snapshot
            .services()
            .keys()
            .map(|name| name.name.to_string())
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.1}}\n"
    )
}

fn services(names: &[&str]) -> String {
    names.iter().map(|name| service(name)).collect()
}

#[test]
fn a_folder_is_read_followed_and_made_where_there_is_none() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("not/yet");
    let mut running = Running::start(&dir);
    assert!(running.services().is_empty());
    fs::write(dir.join("a.yaml"), services(&["a"])).unwrap();
    running.until(&["a"], 0);
    fs::write(dir.join("b.yml"), services(&["b", "c"])).unwrap();
    fs::write(
        dir.join("c.json"),
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "d"}}"#,
    )
    .unwrap();
    running.until(&["a", "b", "c", "d"], 0);
    // Neither other files nor folders below nor hidden ones count.
    fs::create_dir(dir.join("below.yaml")).unwrap();
    fs::write(dir.join("below.yaml/e.yaml"), services(&["e"])).unwrap();
    fs::write(dir.join(".f.yaml"), services(&["f"])).unwrap();
    fs::write(dir.join("g.txt"), services(&["g"])).unwrap();
    fs::write(dir.join("b.yml"), services(&["c"])).unwrap();
    running.until(&["a", "c", "d"], 0);
    fs::remove_file(dir.join("a.yaml")).unwrap();
    running.until(&["c", "d"], 0);
}

#[test]
fn all_of_the_folder_is_the_first_delta() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(temp.path().join(format!("{name}.yaml")), services(&[name])).unwrap();
    }
    let running = Running::start(temp.path());
    assert_eq!(running.services(), ["a", "b", "c"]);
    assert_eq!(running.snapshot.generation, 1);
}

#[test]
fn a_change_is_there_within_a_second() {
    let temp = tempfile::tempdir().unwrap();
    let mut running = Running::start(temp.path());
    // The best of several tries: what is promised of the agent, not of a busy machine.
    let best = (0..5).map(|i| {
        let name = format!("s{i}");
        let started = Instant::now();
        fs::write(temp.path().join("a.yaml"), services(&[&name])).unwrap();
        running.until(&[&name], 0);
        started.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn a_half_written_file_disturbs_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("a.yaml"), services(&["a", "b", "c"])).unwrap();
    let mut running = Running::start(dir);
    // The first half is good YAML on its own.
    let mut file = fs::File::create(dir.join("a.yaml")).unwrap();
    file.write_all(services(&["a"]).as_bytes()).unwrap();
    file.flush().unwrap();
    // Other files go on meanwhile, and so show that the half was seen and left alone.
    fs::write(dir.join("z.yaml"), services(&["z"])).unwrap();
    running.until(&["a", "b", "c", "z"], 0);
    file.write_all(services(&["d"]).as_bytes()).unwrap();
    drop(file);
    running.until(&["a", "d", "z"], 0);
}

#[test]
fn a_broken_file_keeps_what_it_had_until_it_is_put_right() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.yaml");
    fs::write(&path, services(&["a", "b"])).unwrap();
    let mut running = Running::start(temp.path());
    fs::write(&path, services(&["c"]) + "---\na: [").unwrap();
    running.until(&["a", "b"], 1);
    fs::write(
        &path,
        services(&["c"]) + &service("b").replace("10.96.0.1", "x"),
    )
    .unwrap();
    running.until(&["b", "c"], 1);
    fs::write(&path, services(&["c"])).unwrap();
    running.until(&["c"], 0);
}

#[test]
fn a_file_renamed_over_another_replaces_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("a.yaml"), services(&["a"])).unwrap();
    let mut running = Running::start(dir);
    fs::write(dir.join("a.yaml.tmp"), services(&["b"])).unwrap();
    fs::rename(dir.join("a.yaml.tmp"), dir.join("a.yaml")).unwrap();
    running.until(&["b"], 0);
    // Renamed to another name, its objects stay.
    fs::rename(dir.join("a.yaml"), dir.join("b.yaml")).unwrap();
    fs::write(dir.join("c.yaml"), services(&["c"])).unwrap();
    running.until(&["b", "c"], 0);
}

#[test]
fn a_mounted_config_map_is_swapped_as_one() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let version = |name: &str, files: &[(&str, &[&str])]| {
        fs::create_dir(dir.join(name)).unwrap();
        for (file, names) in files {
            fs::write(dir.join(name).join(file), services(names)).unwrap();
        }
        symlink(name, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    version("..1", &[("a.yaml", &["a"]), ("b.yaml", &["b"])]);
    symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", dir.join("b.yaml")).unwrap();
    let mut running = Running::start(dir);
    assert_eq!(running.services(), ["a", "b"]);
    version("..2", &[("a.yaml", &["a", "c"]), ("b.yaml", &["d"])]);
    fs::remove_dir_all(dir.join("..1")).unwrap();
    running.next();
    assert_eq!(
        running.services(),
        ["a", "c", "d"],
        "both files in one delta"
    );
}

#[test]
fn a_folder_that_goes_away_removes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("config");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), services(&["a"])).unwrap();
    let mut running = Running::start(&dir);
    fs::rename(&dir, temp.path().join("away")).unwrap();
    running.until(&["a"], 1);
    // Another folder under the same name is followed in its turn.
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("b.yaml"), services(&["b"])).unwrap();
    running.until(&["b"], 0);
    fs::write(dir.join("c.yaml"), services(&["c"])).unwrap();
    running.until(&["b", "c"], 0);
}

#[test]
fn an_object_in_two_files_is_refused_in_the_second() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a.yaml"), services(&["a"])).unwrap();
    let mut running = Running::start(temp.path());
    fs::write(temp.path().join("b.yaml"), services(&["a", "b"])).unwrap();
    running.until(&["a", "b"], 1);
    fs::remove_file(temp.path().join("a.yaml")).unwrap();
    running.until(&["a", "b"], 0);
}

#[test]
fn the_source_ends_with_its_sink() {
    let temp = tempfile::tempdir().unwrap();
    let (sender, deltas) = mpsc::channel();
    drop(deltas);
    Box::new(FolderSource::new(temp.path())).run(Box::new(Sink(sender)));
}
