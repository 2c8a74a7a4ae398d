use std::{
    cell::RefCell,
    collections::BTreeSet,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

use super::*;
use crate::model::{
    fold::Fold,
    mesh::MeshConfig,
    pod::{MeshLabel, NetnsRef, Pod, SkipRules},
    resource::{Change, Delta, Kind, Resource, ResourceKey},
    seams::PodListeners,
};

/// What the fakes were told, in order.
type Log = Arc<Mutex<Vec<String>>>;

#[derive(Default)]
struct FakeCapture {
    log: Log,
    /// Pods that cannot be opened yet.
    broken: Arc<Mutex<BTreeSet<String>>>,
    next: u32,
}

struct FakeNet;

impl PodNet for FakeNet {
    fn socket(&self, _: SocketAddr, _: Option<SocketAddr>) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn probe(&self) -> Result<(), ProbeError> {
        Ok(())
    }
}

impl FakeCapture {
    fn note(&self, what: &str, id: CaptureId) -> Result<(), String> {
        self.log.lock().unwrap().push(format!("{what} {}", id.0));
        Ok(())
    }
}

impl Capture for FakeCapture {
    type Error = String;

    fn open(&mut self, pod: &Pod) -> Result<OpenedPod, String> {
        if self.broken.lock().unwrap().contains(&*pod.name.name) {
            return Err("no namespace".into());
        }
        self.next += 1;
        let id = CaptureId(self.next);
        self.note("open", id)?;
        Ok(OpenedPod {
            id,
            net: Arc::new(FakeNet),
            listeners: vec![PodListeners::default()],
            token: [0; 16],
        })
    }

    fn activate(&mut self, id: CaptureId) -> Result<(), String> {
        self.note("activate", id)
    }

    fn set_skips(&mut self, id: CaptureId, skips: &SkipRules) -> Result<(), String> {
        if *skips == SkipRules::default() {
            return Ok(());
        }
        self.note("skips", id)
    }

    fn release_outbound(&mut self, id: CaptureId) -> Result<(), String> {
        self.note("release-outbound", id)
    }

    fn release(&mut self, id: CaptureId) -> Result<(), String> {
        self.note("release", id)
    }

    fn refuse(&mut self, id: CaptureId) -> Result<(), String> {
        self.note("refuse", id)
    }
}

struct FakeSink {
    log: Log,
    ready: Arc<Mutex<bool>>,
}

impl FakeSink {
    fn note(&self, what: &str, id: CaptureId) {
        self.log.lock().unwrap().push(format!("{what} {}", id.0));
    }
}

impl PodSink for FakeSink {
    fn is_ready_for(&mut self, _: &Workload) -> bool {
        *self.ready.lock().unwrap()
    }

    fn add(&mut self, _: &Arc<Workload>, pod: OpenedPod) {
        self.note("add", pod.id);
    }

    fn update(&mut self, id: CaptureId, _: &Arc<Workload>) {
        self.note("update", id);
    }

    fn close_listeners(&mut self, id: CaptureId) {
        self.note("close", id);
    }

    fn remove(&mut self, id: CaptureId) {
        self.note("remove", id);
    }
}

/// A node, its clock and what it is told.
struct Node {
    fold: RefCell<Fold>,
    enroll: Enroll<FakeCapture, FakeSink>,
    now: Instant,
    log: Log,
    broken: Arc<Mutex<BTreeSet<String>>>,
    ready: Arc<Mutex<bool>>,
    probes: Arc<Mutex<Vec<(ObjectName, CaptureId)>>>,
}

impl Node {
    fn new() -> Self {
        let (log, ready) = (Log::default(), Arc::new(Mutex::new(true)));
        let capture = FakeCapture {
            log: Arc::clone(&log),
            ..FakeCapture::default()
        };
        let broken = Arc::clone(&capture.broken);
        let sink = FakeSink {
            log: Arc::clone(&log),
            ready: Arc::clone(&ready),
        };
        let probes: Arc<Mutex<Vec<_>>> = Arc::default();
        let started = Arc::clone(&probes);
        Self {
            fold: RefCell::new(Fold::new("cluster.local", "n1")),
            enroll: Enroll::new(
                capture,
                sink,
                Box::new(move |name, id, _| started.lock().unwrap().push((name, id))),
            ),
            now: Instant::now(),
            log,
            broken,
            ready,
            probes,
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let delta = Delta {
            changes,
            synced: true,
            ..Delta::default()
        };
        let snapshot = self.fold.borrow_mut().apply(delta, self.now);
        self.enroll.reconcile(&snapshot, self.now);
        self.pass(Duration::ZERO);
    }

    /// Lets time pass, doing what is due on the way.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.enroll.tick(self.now).filter(|due| *due <= end) {
            self.now = due;
        }
        self.now = end;
    }

    fn answer_probes(&mut self, outcome: &Result<(), ProbeError>) {
        let probes: Vec<_> = self.probes.lock().unwrap().drain(..).collect();
        for (name, id) in probes {
            self.enroll.probed(&name, id, outcome.clone(), self.now);
        }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().drain(..).collect()
    }

    fn stages(&self) -> Vec<Stage> {
        self.enroll.status().iter().map(|pod| pod.stage).collect()
    }
}

fn name(pod: &str) -> ObjectName {
    ObjectName::new("shop", pod)
}

fn pod(pod: &str) -> Pod {
    Pod {
        name: name(pod),
        uid: format!("uid-{pod}").into(),
        labels: Default::default(),
        node: "n1".into(),
        service_account: "web".into(),
        ips: vec!["10.0.0.1".parse().unwrap()],
        host_network: false,
        finished: false,
        foreign_sidecar: false,
        workload_name: pod.into(),
        mesh: Some(MeshLabel::Enabled),
        captured: None,
        netns: Some(NetnsRef::Pid(1)),
        skip: SkipRules::default(),
        weight: None,
    }
}

fn upsert(pod: Pod) -> Change {
    let key = ResourceKey {
        kind: Kind::Pod,
        name: pod.name.clone(),
    };
    Change::Upsert(key, Resource::Pod(Arc::new(pod)))
}

fn captured(node: &mut Node) {
    node.apply(vec![upsert(pod("a"))]);
    node.answer_probes(&Ok(()));
    assert_eq!(node.stages(), [Stage::Captured]);
    node.log();
}

#[test]
fn captures_in_order_and_proves() {
    let mut node = Node::new();
    node.apply(vec![upsert(pod("a"))]);
    assert_eq!(node.log(), ["open 1", "add 1", "activate 1"]);
    assert_eq!(node.stages(), [Stage::Proving]);
    node.answer_probes(&Ok(()));
    assert_eq!(node.stages(), [Stage::Captured]);
}

#[test]
fn leaves_alone_what_is_not_enrolled() {
    let mut node = Node::new();
    let not_labelled = Pod {
        mesh: None,
        ..pod("a")
    };
    let host_network = Pod {
        host_network: true,
        ..pod("b")
    };
    let sidecar = Pod {
        foreign_sidecar: true,
        ..pod("c")
    };
    let elsewhere = Pod {
        node: "n2".into(),
        ..pod("d")
    };
    let no_address = Pod {
        ips: Vec::new(),
        ..pod("e")
    };
    let pods = [not_labelled, host_network, sidecar, elsewhere, no_address];
    node.apply(pods.map(upsert).into());
    assert_eq!(node.log(), [""; 0]);
    assert_eq!(node.stages(), []);
}

#[test]
fn waits_for_the_certificate() {
    let mut node = Node::new();
    *node.ready.lock().unwrap() = false;
    node.apply(vec![upsert(pod("a"))]);
    node.pass(Duration::from_secs(1));
    assert_eq!(node.log(), [""; 0]);
    *node.ready.lock().unwrap() = true;
    node.pass(CERTIFICATE_POLL);
    assert_eq!(node.log(), ["open 1", "add 1", "activate 1"]);
}

#[test]
fn tries_again_with_growing_pauses() {
    let mut node = Node::new();
    node.broken.lock().unwrap().insert("a".into());
    node.apply(vec![upsert(pod("a"))]);
    let status = node.enroll.status();
    assert_eq!(status[0].error.as_deref(), Some("no namespace"));
    node.pass(Duration::from_secs(60));
    node.broken.lock().unwrap().clear();
    node.pass(RETRY_MAX);
    assert_eq!(node.log(), ["open 1", "add 1", "activate 1"]);
}

#[test]
fn proves_again_and_again() {
    let mut node = Node::new();
    captured(&mut node);
    node.pass(PROBE_INTERVAL);
    let lost = ProbeError {
        direction: "outbound",
        reason: "refused".into(),
    };
    node.answer_probes(&Err(lost));
    assert_eq!(node.stages(), [Stage::Proving]);
    assert_eq!(node.enroll.probe_failures(), 1);
    node.pass(PROBE_RETRY);
    node.answer_probes(&Ok(()));
    assert_eq!(node.stages(), [Stage::Captured]);
}

#[test]
fn a_late_probe_of_another_capture_counts_for_nothing() {
    let mut node = Node::new();
    captured(&mut node);
    let lost = ProbeError {
        direction: "inbound",
        reason: "refused".into(),
    };
    node.enroll
        .probed(&name("a"), CaptureId(77), Err(lost), node.now);
    assert_eq!(node.stages(), [Stage::Captured]);
}

#[test]
fn lets_a_pod_go_in_two_steps() {
    let mut node = Node::new();
    captured(&mut node);
    let disabled = Pod {
        mesh: Some(MeshLabel::Disabled),
        ..pod("a")
    };
    node.apply(vec![upsert(disabled)]);
    assert_eq!(node.log(), ["release-outbound 1"]);
    node.pass(LEAVING_GRACE);
    // The kernel first, so that nothing reaches a listener that closes.
    assert_eq!(node.log(), ["release 1", "close 1"]);
    assert_eq!(node.stages(), []);
}

#[test]
fn takes_a_leaving_pod_back() {
    let mut node = Node::new();
    captured(&mut node);
    node.apply(vec![upsert(Pod {
        mesh: None,
        ..pod("a")
    })]);
    node.log();
    node.pass(Duration::from_secs(1));
    node.apply(vec![upsert(pod("a"))]);
    assert_eq!(node.log(), ["update 1", "activate 1"]);
    node.pass(LEAVING_GRACE * 2);
    node.answer_probes(&Ok(()));
    assert_eq!(node.stages(), [Stage::Captured]);
    assert_eq!(node.log(), [""; 0]);
}

#[test]
fn ends_with_the_pod() {
    let mut node = Node::new();
    captured(&mut node);
    let key = ResourceKey {
        kind: Kind::Pod,
        name: name("a"),
    };
    node.apply(vec![Change::Remove(key)]);
    assert_eq!(node.log(), ["release 1", "remove 1"]);
}

#[test]
fn another_pod_of_the_same_name_is_captured_anew() {
    let mut node = Node::new();
    captured(&mut node);
    node.apply(vec![upsert(Pod {
        uid: "uid-2".into(),
        ..pod("a")
    })]);
    assert_eq!(
        node.log(),
        ["release 1", "remove 1", "open 2", "add 2", "activate 2"]
    );
}

#[test]
fn follows_skip_rules_live() {
    let mut node = Node::new();
    captured(&mut node);
    let skip = SkipRules {
        inbound_ports: vec![9090],
        ..SkipRules::default()
    };
    node.apply(vec![upsert(Pod { skip, ..pod("a") })]);
    assert_eq!(node.log(), ["update 1", "skips 1"]);
}

#[test]
fn refuses_everything_at_the_end() {
    let mut node = Node::new();
    captured(&mut node);
    node.enroll.refuse_all();
    assert_eq!(node.log(), ["refuse 1", "close 1"]);
}

#[test]
fn unrelated_changes_touch_no_pod() {
    let mut node = Node::new();
    captured(&mut node);
    let key = ResourceKey {
        kind: Kind::MeshConfig,
        name: ObjectName::new("", "mesh"),
    };
    let mesh = Resource::MeshConfig(Arc::new(MeshConfig::default()));
    node.apply(vec![Change::Upsert(key, mesh)]);
    assert_eq!(node.log(), [""; 0]);
}
