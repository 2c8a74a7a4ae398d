//! The model at the size that Weir is made for: 10,000 services with 100,000 endpoints.
//!
//! `cargo bench -p weir --bench snapshot` prints how long a folder of them takes to load and how
//! much memory the loaded model has (this process before and after, as the kernel counts it),
//! then measures the fold alone: all at once, and one changed endpoint.

// A benchmark that cannot go on should stop.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use weir::{
    model::{
        fold::Fold,
        names::ObjectName,
        pod::{Labels, MeshLabel, Namespace, Pod, SkipRules},
        resource::{Change, Delta, Kind, Resource, ResourceKey},
        seams::{DeltaSink, Source},
        service::{Conditions, EndpointSlice, Service, ServicePort, SliceEndpoint},
        snapshot::Snapshot,
    },
    sources::files::FolderSource,
};

// As in the agent itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `snapshot --load FOLDER` loads it and ends.
const LOAD: &str = "--load";

const SERVICES: usize = 10_000;
const ENDPOINTS_PER_SERVICE: usize = 10;
const NAMESPACES: usize = 100;
const NODES: usize = 500;
const FILES: usize = 200;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, mode, folder] = args.as_slice()
        && mode == LOAD
    {
        return load(Path::new(folder));
    }
    for with_pods in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let bytes = write_folder(folder.path(), with_pods);
        print!("{:.1} MB of YAML in {FILES} files: ", bytes as f64 / 1e6);
        std::io::stdout().flush().unwrap();
        // In a process of its own, whose memory is its own.
        let mut own = Command::new(std::env::current_exe().unwrap());
        assert!(own.arg(LOAD).arg(folder.path()).status().unwrap().success());
    }
    let mut criterion = Criterion::default().configure_from_args();
    fold(&mut criterion);
    criterion.final_summary();
}

/// Loads `folder` as the agent does, and prints what that takes.
fn load(folder: &Path) {
    let before = resident_kib();
    let (sender, deltas) = mpsc::channel();
    let source = FolderSource::new(folder);
    let started = Instant::now();
    thread::spawn(move || Box::new(source).run(Box::new(Sink(sender))));
    let delta = deltas.recv().unwrap();
    let read = started.elapsed();
    let mut fold = Fold::new("cluster.local", "node-1");
    let changes = delta.changes.len();
    let snapshot = fold.apply(delta, Instant::now());
    let (loaded, cpu) = (started.elapsed(), cpu_time());
    let peak = resident_kib() - before;
    // What the load needed for a moment goes back to the system.
    thread::sleep(Duration::from_secs(1));
    let resident = resident_kib() - before;
    println!(
        "{changes} objects ({} services, {} endpoints, {} pods): read {read:.2?}, read and folded {loaded:.2?}, {cpu:.2?} of CPU; \
         memory of source and model {:.1} MiB ({:.1} MiB while loading)",
        snapshot.services().len(),
        snapshot
            .services()
            .values()
            .map(|s| s.endpoints[0].endpoints.len())
            .sum::<usize>(),
        snapshot.workloads().len(),
        resident as f64 / 1024.0,
        peak as f64 / 1024.0,
    );
    let name = folder.join("f-0.yaml");
    let text = fs::read_to_string(&name)
        .unwrap()
        .replacen("10.0.0.0", "10.255.0.1", 1);
    let started = Instant::now();
    fs::write(&name, text).unwrap();
    let delta = deltas.recv().unwrap();
    let seen = started.elapsed();
    let folding = Instant::now();
    fold.apply(delta, Instant::now());
    println!(
        "one endpoint changed in its file: in a delta after {seen:.2?}, folded in {:.2?}",
        folding.elapsed()
    );
}

struct Sink(mpsc::Sender<Delta>);

impl DeltaSink for Sink {
    fn send(&mut self, delta: Delta) -> bool {
        self.0.send(delta).is_ok()
    }
}

/// What this process has had of all cores, which other work on the machine does not change.
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct it is given, and RUSAGE_SELF is always valid.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::new(
            u64::try_from(time.tv_sec).unwrap(),
            1_000 * u32::try_from(time.tv_usec).unwrap(),
        )
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn resident_kib() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn write_folder(dir: &Path, with_pods: bool) -> usize {
    let mut texts = vec![String::new(); FILES];
    for namespace in 0..NAMESPACES {
        let text = &mut texts[namespace % FILES];
        writeln!(text, "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: ns-{namespace}, labels: {{weir.dev/mesh: enabled}}}}").unwrap();
    }
    for service in 0..SERVICES {
        let text = &mut texts[service % FILES];
        let namespace = service % NAMESPACES;
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: svc-{service}\n  namespace: ns-{namespace}\n\
             spec:\n  clusterIP: {}\n  ports:\n  - {{name: http, port: 80, targetPort: 8080}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: svc-{service}-x7k2p\n  namespace: ns-{namespace}\n  \
             labels: {{kubernetes.io/service-name: svc-{service}}}\naddressType: IPv4\nports:\n- {{name: http, port: 8080, protocol: TCP}}\nendpoints:\n",
            vip(service),
        )
        .unwrap();
        for endpoint in 0..ENDPOINTS_PER_SERVICE {
            let (node, zone) = (endpoint_index(service, endpoint) % NODES, endpoint % 3);
            writeln!(
                text,
                "- addresses: [{}]\n  conditions: {{ready: true, serving: true, terminating: false}}\n  nodeName: node-{node}\n  zone: zone-{zone}\n  \
                 targetRef: {{kind: Pod, name: svc-{service}-{endpoint}, namespace: ns-{namespace}}}",
                address(service, endpoint)
            )
            .unwrap();
        }
        for endpoint in (0..ENDPOINTS_PER_SERVICE).filter(|_| with_pods) {
            let node = endpoint_index(service, endpoint) % NODES;
            let ip = address(service, endpoint);
            writeln!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: svc-{service}-7d4b9c6f5-{endpoint}\n  namespace: ns-{namespace}\n  \
                 labels: {{app: svc-{service}, version: v1, pod-template-hash: 7d4b9c6f5}}\n  uid: 5c9f1c0e-0000-4000-8000-{:012}\n\
                 spec:\n  nodeName: node-{node}\n  serviceAccountName: svc-{service}\nstatus: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}]}}",
                endpoint_index(service, endpoint)
            )
            .unwrap();
        }
    }
    for (index, text) in texts.iter().enumerate() {
        fs::write(dir.join(format!("f-{index}.yaml")), text).unwrap();
    }
    texts.iter().map(String::len).sum()
}

fn endpoint_index(service: usize, endpoint: usize) -> usize {
    service * ENDPOINTS_PER_SERVICE + endpoint
}

fn octets(first: u8, index: usize) -> IpAddr {
    let [_, a, b, c] = u32::try_from(index).unwrap().to_be_bytes();
    Ipv4Addr::new(first, a, b, c).into()
}

fn address(service: usize, endpoint: usize) -> IpAddr {
    octets(10, endpoint_index(service, endpoint))
}

fn vip(service: usize) -> IpAddr {
    octets(172, service)
}

fn upsert(kind: Kind, name: ObjectName, resource: Resource) -> Change {
    Change::Upsert(ResourceKey { kind, name }, resource)
}

fn service(name: &ObjectName, index: usize) -> Change {
    let ports = vec![ServicePort {
        name: "http".into(),
        port: 80,
        app_protocol: None,
    }];
    let service = Service {
        distribution: Default::default(),
        node_local: false,
        name: name.clone(),
        vips: vec![vip(index)],
        ports,
    };
    upsert(
        Kind::Service,
        name.clone(),
        Resource::Service(service.into()),
    )
}

fn slice(name: &str, service: &ObjectName, addresses: impl Iterator<Item = IpAddr>) -> Change {
    let conditions = Conditions {
        ready: true,
        serving: true,
        terminating: false,
    };
    let endpoints = addresses.map(|address| SliceEndpoint {
        address,
        conditions,
        node: None,
        zone: None,
    });
    let slice = EndpointSlice {
        name: ObjectName::new(Arc::clone(&service.namespace), name),
        service: Arc::clone(&service.name),
        ports: vec![("http".into(), 8080)],
        endpoints: endpoints.collect(),
    };
    upsert(
        Kind::EndpointSlice,
        slice.name.clone(),
        Resource::EndpointSlice(slice.into()),
    )
}

fn pod(name: &ObjectName, index: usize) -> Change {
    let pod = Pod {
        name: name.clone(),
        uid: name.to_string().into(),
        labels: Labels::default(),
        node: "node-1".into(),
        service_account: "default".into(),
        ips: vec![octets(10, index)],
        host_network: false,
        finished: false,
        foreign_sidecar: false,
        workload_name: Arc::clone(&name.name),
        mesh: None,
        captured: None,
        netns: None,
        skip: SkipRules::default(),
        weight: None,
    };
    upsert(Kind::Pod, name.clone(), Resource::Pod(pod.into()))
}

fn service_name(index: usize) -> ObjectName {
    ObjectName::new(format!("ns-{}", index % NAMESPACES), format!("svc-{index}"))
}

fn delta(changes: Vec<Change>) -> Delta {
    Delta {
        changes,
        rejected: 0,
        synced: true,
    }
}

fn slice_of(index: usize, last: IpAddr) -> Change {
    let addresses = (0..ENDPOINTS_PER_SERVICE - 1).map(|endpoint| address(index, endpoint));
    slice(
        &format!("svc-{index}-x7k2p"),
        &service_name(index),
        addresses.chain([last]),
    )
}

/// 10,000 services of 10 endpoints each, and as many pods.
fn world() -> Delta {
    let mut changes = Vec::new();
    for index in 0..SERVICES {
        changes.push(service(&service_name(index), index));
        changes.push(slice_of(index, address(index, ENDPOINTS_PER_SERVICE - 1)));
        for endpoint in 0..ENDPOINTS_PER_SERVICE {
            let name = ObjectName::new(
                format!("ns-{}", index % NAMESPACES),
                format!("svc-{index}-{endpoint}"),
            );
            changes.push(pod(&name, endpoint_index(index, endpoint)));
        }
    }
    delta(changes)
}

/// One service of 100,000 endpoints in slices of 100.
fn giant() -> Delta {
    let name = service_name(0);
    let slices = (0..1_000).map(|index| giant_slice(index, octets(10, index * 100 + 99)));
    delta([service(&name, 0)].into_iter().chain(slices).collect())
}

fn giant_slice(index: usize, last: IpAddr) -> Change {
    let addresses = (0..99).map(|endpoint| octets(10, index * 100 + endpoint));
    slice(
        &format!("giant-{index}"),
        &service_name(0),
        addresses.chain([last]),
    )
}

fn fold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    group.sample_size(10);
    group.bench_function(
        "10,000 services, 100,000 endpoints, 100,000 pods at once",
        |bencher| {
            bencher.iter_batched(
                || (Fold::new("cluster.local", "node-1"), world()),
                |(mut fold, delta)| (fold.apply(delta, Instant::now()), fold),
                BatchSize::PerIteration,
            );
        },
    );
    group.sample_size(100);
    let now = Instant::now();
    one_changed(&mut group, "one changed endpoint", world(), |round| {
        slice_of(4_711, octets(11, round))
    });
    one_changed(&mut group, "one changed pod", world(), |round| {
        pod(&ObjectName::new("ns-11", "svc-4711-3"), (1 << 20) + round)
    });
    one_changed(
        &mut group,
        "one changed label of a namespace with 1,000 pods",
        world(),
        |round| {
            let mesh = [MeshLabel::Enabled, MeshLabel::Disabled][round % 2];
            let namespace = Namespace {
                name: "ns-11".into(),
                mesh: Some(mesh),
            };
            upsert(
                Kind::Namespace,
                ObjectName::new("", "ns-11"),
                Resource::Namespace(namespace.into()),
            )
        },
    );
    one_changed(
        &mut group,
        "one changed endpoint of a service with 100,000",
        giant(),
        |round| giant_slice(500, octets(11, round)),
    );
    group.bench_function("one look-up by address", |bencher| {
        let snapshot: Arc<Snapshot> = Fold::new("cluster.local", "node-1").apply(world(), now);
        bencher.iter(|| black_box(snapshot.service_by_vip(black_box(vip(4_711)))));
    });
    group.finish();
}

fn one_changed(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    world: Delta,
    change: impl Fn(usize) -> Change,
) {
    let mut fold = Fold::new("cluster.local", "node-1");
    // Held as the data plane holds it, so that a change has to copy what it changes.
    let mut held = fold.apply(world, Instant::now());
    let mut round = 0;
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || {
                round += 1;
                delta(vec![change(round)])
            },
            |delta| held = fold.apply(delta, Instant::now()),
            BatchSize::PerIteration,
        );
    });
    black_box(held);
}
