use std::{
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use http::Method;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    model::{
        fold::{
            Fold,
            tests::build::{self, Build as _, traffic_policy},
        },
        names::ObjectName,
        pod::{Pod, SkipRules, Workload},
        resource::Delta,
        seams::SystemClock,
        service::{Endpoint, EndpointSet, Service, ServicePort, ServiceState},
        spiffe::SpiffeId,
        traffic_policy::PolicyTarget,
    },
    telemetry::{self, ConnectionInfo, Reason, Reporter, RequestInfo, RequestProtocol, TAPS_MAX},
};

/// What the closures of a test's admin API answer.
struct State {
    readiness: Readiness,
    liveness: Option<Liveness>,
}

struct World {
    state: Arc<Mutex<State>>,
    admin: Arc<Admin>,
    telemetry: Telemetry,
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
        let tapped = telemetry.clone();
        let admin = Admin::new(Sources {
            telemetry,
            snapshot: Box::new(|| {
                let changes = vec![
                    build::pod("shop/cart-1", "10.0.0.1").upsert(),
                    build::service("shop/web", "10.96.0.1").upsert(),
                ];
                let delta = Delta {
                    changes,
                    ..Delta::default()
                };
                let snapshot = Fold::new("cluster.local", "n1").apply(delta, Instant::now());
                let mut snapshot = Snapshot::clone(&snapshot);
                snapshot.generation = 42;
                Arc::new(snapshot)
            }),
            pods: Box::new(|| serde_json::json!([{ "name": "shop/web-1", "state": "captured" }])),
            pod_counts: Box::new(PodCounts::default),
            services: Box::new(ServicesStatus::default),
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
            telemetry: tapped,
            servers: Vec::new(),
        }
    }

    /// A request by `shop/client-1` for `/cart` ends.
    fn pass(&self, method: Method) {
        let worker = self.telemetry.worker();
        let (head, ()) = http::Request::builder()
            .method(method.clone())
            .uri("/cart?secret=1")
            .header("authorization", "Bearer abc")
            .body(())
            .unwrap()
            .into_parts();
        let address = |text: &str| text.parse().unwrap();
        let (client, dialled) = (address("10.0.0.1:4711"), address("10.96.0.1:80"));
        let info = RequestInfo {
            peers: ConnectionInfo::new(Reporter::Source, client, dialled),
            protocol: RequestProtocol::of(&head),
            method,
            details: worker.details(&head),
            route: None,
        };
        let mut record = worker.request(info);
        record.capture_headers(&head.headers);
        record.response(http::StatusCode::OK);
        record.finish(Reason::Ok, None);
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
    for path in [
        "/",
        "/debug/config",
        "/debug/pods",
        "/debug/config/",
        "/debug/explain?from=shop&to=web",
        "/debug/tap",
        "/debug/status",
    ] {
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
    let end = timeout(Duration::from_secs(2), refused.read(&mut byte)).await;
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
    let end = timeout(Duration::from_secs(10), silent.read_to_end(&mut answer)).await;
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
            weight: None,
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
        policy: None,
        service: Arc::new(Service {
            distribution: Default::default(),
            node_local: false,
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
    assert_eq!(json["ports"][0]["endpoints"][1]["weight"], 100);
}

#[test]
fn a_policy_that_does_not_count_is_shown() {
    let on = || [PolicyTarget::Service("web".into())];
    let changes = ["shop/b", "shop/a"].map(|name| traffic_policy(name, on(), 1).upsert());
    let delta = Delta {
        changes: changes.into(),
        ..Delta::default()
    };
    let snapshot = Fold::new("cluster.local", "n1").apply(delta, Instant::now());
    let json = config::describe(&snapshot);
    let expected = serde_json::json!([
        {"target": "Service web", "winner": "shop/a", "losers": ["shop/b"]},
    ]);
    assert_eq!(json["policyConflicts"], expected);
    assert_eq!(json["counts"]["policyConflicts"], 1);
}

#[tokio::test]
async fn the_status_is_told_ready_or_not() {
    let mut world = World::new();
    let address = world.serve(Surface::Admin).await;
    let (status, head, body) = get(address, "/debug/status?output=text").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(body.starts_with("agent     ready, version"), "{body}");

    let missing = vec!["the agent is draining".to_owned()];
    world.state.lock().unwrap().readiness = Readiness::NotReady(missing);
    let (status, head, body) = get(address, "/debug/status").await;
    assert_eq!(status, 200, "an agent that is not ready still tells");
    assert!(head.contains("content-type: application/json"), "{head}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["ready"], false);
    assert_eq!(told["missing"][0], "the agent is draining");
    assert_eq!(told["generation"], 42);

    let (status, _, body) = get(address, "/debug/status?colour=red").await;
    assert!(status == 400 && body.contains("no parameter"), "{body}");
}

#[tokio::test]
async fn a_request_is_explained() {
    let mut world = World::new();
    let address = world.serve(Surface::Admin).await;
    let path = "/debug/explain?from=shop&to=http%3A%2F%2Fweb%2Fa&method=PUT&header=x-a%3A+b";
    let (status, head, body) = get(address, path).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["request"], "PUT http://web/a");
    assert_eq!(told["destination"]["service"], "shop/web");
    assert_eq!(told["outcomes"][0]["reason"], "no_healthy_endpoint");

    let path = "/debug/explain?from=shop/cart-1&to=web&output=text";
    let (status, head, body) = get(address, path).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(body.contains("pod shop/cart-1 is not enrolled"), "{body}");

    for (query, said) in [
        ("", "from is missing"),
        ("?from=shop", "to is missing"),
        ("?from=shop&to=ftp://web", "begins with none of"),
        ("?from=shop&to=web&header=x", "a header is written"),
        ("?from=shop&to=web&output=xml", "json or text"),
        ("?from=shop&to=web&colour=red", "no parameter"),
    ] {
        let (status, _, body) = get(address, &format!("/debug/explain{query}")).await;
        assert!(status == 400 && body.contains(said), "{query}: {body}");
    }
}

/// An open tap, after its head.
async fn tap(address: SocketAddr, query: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /debug/tap{query} HTTP/1.1\r\nhost: weir\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
    }
    stream
}

/// The next event; the chunks' own lines are passed over.
async fn event(stream: &mut BufReader<TcpStream>) -> Value {
    loop {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(10), stream.read_line(&mut line)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "the tap goes on");
        if line.starts_with('{') {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

#[tokio::test]
async fn a_tap_shows_requests_as_they_end() {
    let mut world = World::new();
    let address = world.serve(Surface::Admin).await;
    let mut all = tap(address, "").await;
    let mut puts = tap(address, "?method=PUT&path=%2Fca&status=2xx&reason=ok").await;
    world.pass(Method::GET);
    world.pass(Method::PUT);
    let first = event(&mut all).await;
    assert_eq!(
        (&first["method"], &first["path"]),
        (&"GET".into(), &"/cart".into())
    );
    assert_eq!(first["request_headers"][0][1], "[redacted]");
    assert!(!first.to_string().contains("secret"), "{first}");
    assert_eq!(event(&mut all).await["method"], "PUT");
    assert_eq!(event(&mut puts).await["method"], "PUT");

    for (query, said) in [
        ("?status=6xx", "such as 4xx"),
        ("?reason=bad_luck", "bad_luck"),
        ("?service=web", "beside a namespace"),
        ("?colour=red", "no parameter"),
        ("?method=G%20T", "method"),
    ] {
        let (status, _, body) = get(address, &format!("/debug/tap{query}")).await;
        assert!(status == 400 && body.contains(said), "{query}: {body}");
    }
}

#[tokio::test]
async fn taps_are_bounded_and_take_no_place_from_others() {
    let mut world = World::new();
    let address = world.serve(Surface::Admin).await;
    let mut taps = Vec::new();
    for _ in 0..TAPS_MAX {
        taps.push(tap(address, "").await);
    }
    let (status, _, body) = get(address, "/debug/tap").await;
    assert_eq!(status, 503);
    assert!(body.contains("8 taps are open already"), "{body}");
    assert_eq!(get(address, "/healthz/ready").await.0, 200);

    // Who goes makes room, without a request that would show it.
    taps.pop();
    let deadline = Instant::now() + Duration::from_secs(5);
    while get(address, "/debug/tap?colour=red").await.0 != 400
        || world.telemetry.tap(Default::default()).is_err()
    {
        assert!(
            Instant::now() < deadline,
            "the tap of a client that went stays"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(tap(address, "").await);
}

#[tokio::test(start_paused = true)]
async fn a_tap_outlives_other_connections_but_not_for_ever() {
    let mut world = World::new();
    let address = world.serve(Surface::Admin).await;
    let mut stream = tap(address, "").await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.pass(Method::GET);
    assert_eq!(event(&mut stream).await["method"], "GET");
    tokio::time::sleep(TAP_DURATION_MAX).await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "ended in order: {rest:?}");
}
