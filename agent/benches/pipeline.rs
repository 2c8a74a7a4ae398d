//! One request through the proxy, in allocations and instructions: figures that do not change with what else the
//! machine does, so that a regression shows.
//!
//! `cargo bench -p weir --bench pipeline` prints, for each way a request can take, what one request costs the
//! agents' data-plane threads on a warm connection. The threads are the agent's own ([`Worker::run`]), with the
//! model read from manifests, an HTTPRoute in force and telemetry on; only the kernel's part is replaced: what was
//! dialled is known beforehand, and pods are loopback addresses. Client and application are threads of this
//! process as well, but not counted.
//!
//! - Allocations: by a counting allocator around the agent's. What aws-lc takes by itself is not seen.
//! - Instructions: of user space, by callgrind, where it is installed: this program is run with one number of
//!   requests and with another, and the difference is divided.
//!
//! - CPU time, where features are compared: the data-plane threads', the kernel's part for them included, as the
//!   least of several runs: other work of the machine only adds to it. On a busy one it is no figure all the same.
//!
//! `--features` compares, in place of that, a request with and without each feature of a TrafficPolicy
//! ([`features`]), in less than a minute; with `--instructions` it takes some more. `--json` prints one JSON object for each figure, which is what `cargo xtask bench` reads.

// A benchmark that cannot go on should stop.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "pipeline/features.rs"]
mod features;
#[path = "../tests/node/mod.rs"]
mod node;

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use tokio::sync::mpsc::Receiver;
use weir::{
    model::{
        limits::HBONE_PORT,
        seams::{CaptureId, PodListeners},
    },
    proxy::{Command as Tell, Shared, Status, Worker},
    telemetry,
};

use self::{
    features::{FEATURES, Feature, PLAIN},
    node::{APP_PORT, Node, Pods, SERVICE, SERVICE_NAME, identities, read_manifests},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting(mimalloc::MiMalloc);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);

/// `/proc`'s folders of the data-plane threads.
static THREADS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// The agent's allocator, and how often data-plane threads ask it for memory.
struct Counting(mimalloc::MiMalloc);

fn count(bytes: usize) {
    // A thread that is ending has no locals any more.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Relaxed);
        ALLOCATED_BYTES.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: every call goes to mimalloc as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size.saturating_sub(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.realloc(memory, layout, new_size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.dealloc(memory, layout) }
    }
}

/// The bench's paths, by their names in `cargo xtask bench`.
const PATHS: [&str; 2] = ["weir-same", "weir-cross"];

/// Where features are compared: both agents have a part in some of them.
const FEATURES_PATH: &str = "weir-cross";

/// `pipeline --once PATH FEATURE REQUESTS` makes them and prints what was counted.
const ONCE: &str = "--once";
const JSON: &str = "--json";
const OF_FEATURES: &str = "--features";
/// Of features too, which takes minutes.
const INSTRUCTIONS: &str = "--instructions";

/// Until connections, pools and caches are warm.
const WARM_UP: u64 = 300;
const REQUESTS: u64 = 2_000;
/// Under callgrind, which takes fifty times as long.
const REQUESTS_FEW: u64 = 200;
const REQUESTS_MANY: u64 = 600;
/// How often each feature has its turn.
const FEATURE_ROUNDS: usize = 5;
const FEATURE_REQUESTS: u64 = 1_000;

const BODY_BYTES: usize = 1024;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [ONCE, path, feature, requests] => {
            once(path, Feature::named(feature), requests.parse().unwrap());
        }
        ref words if words.contains(&OF_FEATURES) => {
            report_features(words.contains(&JSON), words.contains(&INSTRUCTIONS));
        }
        ref words => report(words.contains(&JSON)),
    }
}

/// What one request costs, for each path.
fn report(json: bool) {
    for path in PATHS {
        let cost = run(Command::new(own()), path, &PLAIN, REQUESTS);
        let mut figures = cost.counted().to_vec();
        figures.extend(instructions(path, &PLAIN).map(|each| ("instructions", each)));
        for (metric, value) in figures {
            if json {
                println!(
                    "{}",
                    serde_json::json!({"path": path, "metric": metric, "value": value})
                );
            } else {
                println!("{path}: {value:.1} {metric} for one request");
            }
        }
    }
}

/// What one request costs with each feature, beside what it costs with none. They take turns, so that whatever
/// else the machine does meets them all.
fn report_features(json: bool, with_instructions: bool) {
    let mut costs: Vec<Vec<Cost>> = FEATURES.iter().map(|_| Vec::new()).collect();
    for _ in 0..FEATURE_ROUNDS {
        for (feature, costs) in FEATURES.iter().zip(&mut costs) {
            let program = Command::new(own());
            costs.push(run(program, FEATURES_PATH, feature, FEATURE_REQUESTS));
        }
    }
    let rows: Vec<Vec<(&str, f64)>> = FEATURES
        .iter()
        .zip(costs)
        .map(|(feature, costs)| {
            let cost = Cost::least(&costs);
            let mut figures = cost.counted().to_vec();
            figures.push(("cpu_us_per_request", cost.cpu_nanos / 1e3));
            let counted = with_instructions.then(|| instructions(FEATURES_PATH, feature));
            figures.extend(counted.flatten().map(|each| ("instructions", each)));
            figures
        })
        .collect();
    for (feature, figures) in FEATURES.iter().zip(&rows) {
        let name = feature.name;
        if !json {
            print!("{name:28}");
        }
        for ((metric, value), (_, of_none)) in figures.iter().zip(&rows[0]) {
            if json {
                let path = FEATURES_PATH;
                println!(
                    "{}",
                    serde_json::json!({"path": path, "feature": name, "metric": metric, "value": value})
                );
            } else {
                print!("  {value:9.1} ({:+8.1}) {metric}", value - of_none);
            }
        }
        if !json {
            println!();
        }
    }
}

/// Of one request.
struct Cost {
    allocations: f64,
    allocated_bytes: f64,
    cpu_nanos: f64,
}

impl Cost {
    fn counted(&self) -> [(&'static str, f64); 2] {
        [
            ("allocations", self.allocations),
            ("allocated_bytes", self.allocated_bytes),
        ]
    }

    /// Of each figure by itself.
    fn least(costs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| costs.iter().map(figure).fold(f64::INFINITY, f64::min);
        Self {
            allocations: of(|cost| cost.allocations),
            allocated_bytes: of(|cost| cost.allocated_bytes),
            cpu_nanos: of(|cost| cost.cpu_nanos),
        }
    }
}

fn own() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn run(mut program: Command, path: &str, feature: &Feature, requests: u64) -> Cost {
    let output = program
        .args([ONCE, path, feature.name, &requests.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let name = feature.name;
    assert!(output.status.success(), "{path}, {name}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text
        .split_whitespace()
        .map(|n| n.parse::<f64>().unwrap() / requests as f64);
    let mut each = || words.next().unwrap();
    Cost {
        allocations: each(),
        allocated_bytes: each(),
        cpu_nanos: each(),
    }
}

/// Instructions of data-plane threads; none without callgrind.
fn instructions(path: &str, feature: &Feature) -> Option<f64> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("no valgrind here (Debian: valgrind): instructions are not counted");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let count = |requests: u64| {
        let out = dir.path().join(requests.to_string());
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--quiet"])
            // What runs within it, on each thread, and nothing else.
            .arg(format!("--toggle-collect=*{DATA_PLANE}*"))
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(own());
        run(valgrind, path, feature, requests);
        let text = fs::read_to_string(&out).unwrap();
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))
            .unwrap();
        total.trim().parse::<f64>().unwrap()
    };
    let (few, many) = (count(REQUESTS_FEW), count(REQUESTS_MANY));
    Some((many - few) / (REQUESTS_MANY - REQUESTS_FEW) as f64)
}

/// What the data-plane threads have used.
#[derive(Clone, Copy)]
struct Used {
    allocations: u64,
    allocated_bytes: u64,
    cpu_nanos: u64,
}

impl Used {
    fn now() -> Self {
        let cpu_of = |thread: &PathBuf| {
            // Time on a core, in nanoseconds, comes first.
            let text = fs::read_to_string(thread.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        Self {
            allocations: ALLOCATIONS.load(Relaxed),
            allocated_bytes: ALLOCATED_BYTES.load(Relaxed),
            cpu_nanos: THREADS.lock().unwrap().iter().map(cpu_of).sum(),
        }
    }
}

/// Makes `requests` one after the other; prints how many allocations that took, how many bytes, and how many
/// nanoseconds of CPU.
fn once(path: &str, feature: &Feature, requests: u64) {
    let cross = path != "weir-same";
    let pods = Pods::of_this_process(0);
    let folder = tempfile::tempdir().unwrap();
    let delta = read_manifests(folder.path(), &manifests(pods, cross, feature));
    for port in feature.ports() {
        serve_app(TcpListener::bind((pods.server, port)).unwrap(), feature);
    }

    let (outbound, inbound) = (
        TcpListener::bind((pods.client, 0)).unwrap(),
        TcpListener::bind((pods.server, HBONE_PORT)).unwrap(),
    );
    let dial = outbound.local_addr().unwrap();
    let outbound = PodListeners {
        outbound: vec![outbound],
        inbound: Vec::new(),
    };
    let inbound = PodListeners {
        outbound: Vec::new(),
        inbound: vec![inbound],
    };
    let identities = identities(folder.path());
    let source = Node::start("n1", delta.clone(), &identities, data_plane);
    source.add_pod("client", CaptureId(1), outbound);
    let destination = cross.then(|| Node::start("n2", delta, &identities, data_plane));
    let of_server = destination.as_ref().unwrap_or(&source);
    of_server.add_pod("server", CaptureId(2), inbound);

    let mut client = TcpStream::connect(dial).unwrap();
    client.set_nodelay(true).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: bench\r\n{}\r\n",
        feature.request_fields
    );
    for _ in 0..WARM_UP {
        ask(&mut client, &request);
    }
    let before = Used::now();
    let began = Instant::now();
    for _ in 0..requests {
        ask(&mut client, &request);
    }
    let took = began.elapsed();
    let after = Used::now();
    // What the row is called is what happened.
    assert_eq!(source.has_policy(SERVICE_NAME), feature.has_policy());
    let kept = source.services.observed().stale_answers_kept > 0;
    assert_eq!(kept, feature.keeps_answers, "{}", feature.name);
    let told = source.telemetry.expose(telemetry::exposition::Format::Text);
    let routed = told
        .lines()
        .find(|line| line.starts_with("weir_route_request_duration_milliseconds_count"));
    assert!(
        routed.is_some_and(|line| line.contains("bench/server:5080")),
        "no route:\n{told}"
    );
    println!(
        "{} {} {}",
        after.allocations - before.allocations,
        after.allocated_bytes - before.allocated_bytes,
        after.cpu_nanos - before.cpu_nanos,
    );
    eprintln!(
        "{path}, {}: {requests} requests in {took:.1?}",
        feature.name
    );
}

/// One request; the answer is read to its end.
fn ask(client: &mut TcpStream, request: &str) {
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let mut got = 0;
    loop {
        let n = client.read(&mut answer[got..]).unwrap();
        assert!(n > 0, "closed: {}", String::from_utf8_lossy(&answer[..got]));
        got += n;
        let head = answer[..got]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| got == head + 4 + BODY_BYTES) {
            assert!(answer.starts_with(b"HTTP/1.1 200"));
            return;
        }
    }
}

/// An application that answers every request alike.
fn serve_app(listener: TcpListener, feature: &Feature) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nserver: bench\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: text/html\r\n\
         {}content-length: {BODY_BYTES}\r\n\r\n{}",
        feature.answer_fields,
        "w".repeat(BODY_BYTES)
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    request.extend_from_slice(&buffer[..n]);
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
}

/// The name that callgrind is told.
const DATA_PLANE: &str = "pipeline::data_plane";

#[inline(never)]
fn data_plane(shared: Arc<Shared>, commands: Receiver<Tell>) {
    IS_COUNTED.set(true);
    let own = fs::read_link("/proc/thread-self").unwrap();
    THREADS
        .lock()
        .unwrap()
        .push(PathBuf::from("/proc").join(own));
    Worker::run(shared, &Status::default(), commands).unwrap();
}

/// Two pods, a service with the feature's policy, and a table of five rules of which the last is taken.
fn manifests(pods: Pods, cross: bool, feature: &Feature) -> String {
    let Pods { client, server } = pods;
    let pod = |name: &str, node: &str, ip: Ipv4Addr| {
        format!(
            "---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: {name}, namespace: bench, uid: {name}, labels: {{app: {name}, weir.dev/mesh: enabled}}}}\n\
             spec: {{nodeName: {node}, serviceAccountName: {name}, containers: [{{name: app}}]}}\n\
             status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}]}}\n"
        )
    };
    let rules: String = [
        "{path: {type: PathPrefix, value: /}, headers: [{name: x-canary, value: always}]}",
        "{path: {type: Exact, value: /healthz}}",
        "{path: {type: PathPrefix, value: /api/v2}}",
        "{path: {type: PathPrefix, value: /search}, queryParams: [{name: beta, value: \"1\"}]}",
        "{path: {type: PathPrefix, value: /}}",
    ]
    .map(|one| {
        format!(
            "  - {{matches: [{one}], backendRefs: [{{name: {SERVICE_NAME}, port: {APP_PORT}}}]}}\n"
        )
    })
    .concat();
    let node = if cross { "n2" } else { "n1" };
    let slice = |port: u16| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: server-{port}, namespace: bench, labels: {{kubernetes.io/service-name: {SERVICE_NAME}}}}}\n\
             addressType: IPv4\nports: [{{name: web, port: {port}, protocol: TCP}}]\n\
             endpoints:\n- {{addresses: [{server}], conditions: {{ready: true}}, nodeName: {node}, \
             targetRef: {{kind: Pod, name: server, namespace: bench}}}}\n"
        )
    };
    let slices: String = feature.ports().map(slice).collect();
    let (client, server) = (pod("client", "n1", client), pod("server", node, server));
    let policy = feature.manifest();
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: bench}}\n{client}{server}{slices}{policy}\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: {SERVICE_NAME}, namespace: bench}}\n\
         spec:\n  clusterIP: {SERVICE}\n  clusterIPs: [{SERVICE}]\n\
         \x20 ports: [{{name: web, port: {APP_PORT}, protocol: TCP, appProtocol: http}}]\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: bench}}\n\
         spec:\n  parentRefs: [{{group: \"\", kind: Service, name: {SERVICE_NAME}, port: {APP_PORT}}}]\n  rules:\n{rules}",
    )
}
