use std::{
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    model::{
        names::ObjectName,
        pod::{Pod, SkipRules, Workload},
        seams::SystemClock,
        service::{Endpoint, EndpointSet, Service, ServicePort, ServiceState},
        spiffe::SpiffeId,
    },
    telemetry,
};

/// What the closures of a test's admin API answer.
struct State {
    readiness: Readiness,
    liveness: Option<Liveness>,
}

struct World {
    state: Arc<Mutex<State>>,
    admin: Arc<Admin>,
    servers: Vec<JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        let state = Arc::new(Mutex::new(State {
            readiness: Readiness::Ready,
            liveness: Some(Liveness::Live),
        }));
        let telemetry =
            Telemetry::new(telemetry::Settings::default(), Arc::new(SystemClock)).unwrap();
        let (ready, live) = (Arc::clone(&state), Arc::clone(&state));
        let admin = Admin::new(Sources {
            telemetry,
            snapshot: Box::new(|| {
                let mut snapshot = Snapshot::default();
                snapshot.generation = 42;
                Arc::new(snapshot)
            }),
            pods: Box::new(|| serde_json::json!([{ "name": "shop/web-1", "state": "captured" }])),
            readiness: Box::new(move || ready.lock().unwrap().readiness.clone()),
            liveness: Box::new(move || {
                let liveness = live.lock().unwrap().liveness.clone();
                Box::pin(async move {
                    match liveness {
                        Some(liveness) => liveness,
                        None => std::future::pending().await,
                    }
                })
            }),
        });
        Self {
            state,
            admin,
            servers: Vec::new(),
        }
    }

    async fn serve(&mut self, surface: Surface) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = serve(listener, surface, Arc::clone(&self.admin));
        self.servers.push(tokio::spawn(server));
        address
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

/// Status, head and body of the answer to `request`.
async fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: weir\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn both_addresses_answer_metrics_and_health() {
    let mut world = World::new();
    for surface in [Surface::Metrics, Surface::Admin] {
        let address = world.serve(surface).await;
        let (status, head, body) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{head}"
        );
        assert!(body.contains("# TYPE weir_build_info gauge"), "{body}");
        assert_eq!(get(address, "/healthz/live").await.0, 200);
        assert_eq!(get(address, "/healthz/ready?verbose").await.0, 200);
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let mut world = World::new();
    let address = world.serve(Surface::Metrics).await;
    let request = "GET /metrics HTTP/1.1\r\nhost: weir\r\naccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n";
    let (status, head, body) = ask(address, request).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_rest_is_for_the_admin_address_alone() {
    let mut world = World::new();
    let (metrics, admin) = (
        world.serve(Surface::Metrics).await,
        world.serve(Surface::Admin).await,
    );
    for path in ["/", "/debug/config", "/debug/pods", "/debug/config/"] {
        assert_eq!(get(metrics, path).await.0, 404, "{path}");
    }
    let (status, _, body) = get(admin, "/debug/config").await;
    let config: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, config["generation"].as_u64()), (200, Some(42)));
    assert_eq!(config["mesh"]["rootNamespace"], "weir-system");
    let (status, head, body) = get(admin, "/debug/pods").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"));
    assert!(body.contains("shop/web-1"));
    assert_eq!(get(admin, "/").await.0, 200);
    assert_eq!(get(admin, "/nowhere").await.0, 404);
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let mut world = World::new();
    let address = world.serve(Surface::Metrics).await;
    world.state.lock().unwrap().readiness =
        Readiness::NotReady(vec!["the configuration was not read yet".into()]);
    let (status, _, body) = get(address, "/healthz/ready").await;
    assert_eq!(status, 503);
    assert_eq!(body, "not ready\n- the configuration was not read yet\n");
    world.state.lock().unwrap().liveness = Some(Liveness::Stuck(vec!["worker 3".into()]));
    let (status, _, body) = get(address, "/healthz/live").await;
    assert_eq!((status, body.as_str()), (503, "stuck\n- worker 3\n"));
}

#[tokio::test]
async fn an_event_loop_that_does_not_answer_is_not_waited_for() {
    let mut world = World::new();
    let address = world.serve(Surface::Metrics).await;
    world.state.lock().unwrap().liveness = None;
    let begin = Instant::now();
    let (status, _, body) = get(address, "/healthz/live").await;
    assert_eq!(status, 503);
    assert!(body.contains("within 2s"), "{body}");
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn other_methods_and_broken_requests_are_refused() {
    let mut world = World::new();
    let address = world.serve(Surface::Admin).await;
    let post = "POST /metrics HTTP/1.1\r\nhost: weir\r\ncontent-length: 2\r\n\r\nhi";
    let (status, head, _) = ask(address, post).await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: GET, HEAD"));
    let (status, _, body) = ask(address, "HEAD /metrics HTTP/1.1\r\nhost: weir\r\n\r\n").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(ask(address, "\x16\x03\x01 not http\r\n\r\n").await.0, 400);
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: weir\r\n\r\n",
        "a".repeat(64 << 10)
    );
    // Closed while the rest is still on its way: an answer, or a reset.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(address, "/healthz/live").await.0, 200);
}

#[tokio::test]
async fn a_connection_is_closed_after_its_answer() {
    let mut world = World::new();
    let address = world.serve(Surface::Metrics).await;
    // `read_to_string` within ends only because the server closes.
    let (_, head, _) = get(address, "/healthz/ready").await;
    assert!(head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn one_address_cannot_hold_all_connections() {
    let mut world = World::new();
    let address = world.serve(Surface::Metrics).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_PER_PEER_MAX {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    let end = tokio::time::timeout(Duration::from_secs(2), refused.read(&mut byte)).await;
    assert!(!matches!(end, Ok(Ok(1..))), "closed at once");
    assert!(end.is_ok(), "and not left waiting");

    // From another address (all of 127/8 is this machine) there is still an answer.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(address).await.unwrap();
    other
        .write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: weir\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"));

    silent.clear();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream
            .write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: weir\r\n\r\n")
            .await;
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        if read.is_ok() && answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < deadline, "places are given back");
    }
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let mut world = World::new();
    let address = world.serve(Surface::Metrics).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"GET /metrics HT").await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "closed after the header timeout");
}

#[test]
fn objects_are_described_as_their_authors_know_them() {
    let workload = Workload {
        pod: Arc::new(Pod {
            name: ObjectName::new("shop", "web-1"),
            uid: "u1".into(),
            labels: Default::default(),
            node: "n1".into(),
            service_account: "web".into(),
            ips: vec![[10, 0, 0, 1].into()],
            host_network: false,
            finished: false,
            foreign_sidecar: false,
            workload_name: "web".into(),
            mesh: None,
            captured: Some(true),
            netns: None,
            skip: SkipRules::default(),
        }),
        identity: SpiffeId::new("cluster.local", "shop", "web"),
        enrolled: true,
        enrolment_changed_at: Instant::now(),
    };
    let json = config::workload(&workload);
    assert_eq!(json["name"], "shop/web-1");
    assert_eq!(json["identity"], "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(json["tunnelled"], true);

    let set = EndpointSet {
        endpoints: vec![
            Endpoint {
                address: [10, 0, 0, 1].into(),
                port: 8080,
            },
            Endpoint {
                address: [10, 0, 0, 2].into(),
                port: 8080,
            },
        ],
        ready: 1,
        ..EndpointSet::default()
    };
    let state = ServiceState {
        service: Arc::new(Service {
            name: ObjectName::new("shop", "web"),
            vips: vec![[10, 96, 0, 1].into()],
            ports: vec![ServicePort {
                name: "http".into(),
                port: 80,
                app_protocol: None,
            }],
        }),
        endpoints: vec![Arc::new(set)],
    };
    let json = config::service(&state);
    assert_eq!(json["vips"][0], "10.96.0.1");
    assert_eq!(json["ports"][0]["endpoints"][0]["address"], "10.0.0.1:8080");
    assert_eq!(json["ports"][0]["endpoints"][1]["ready"], false);
}
