//! HTTP from end to end: what clients write goes to the data plane as it is in the agent, and what
//! comes out reaches an application that takes nothing but what is beyond doubt.
//!
//! Every request that an application sees must be one that the agent saw too: a route gives each a
//! header, which one that was smuggled in another's body has not.

mod app;
mod http1;
mod http2;

use std::{
    cell::Cell,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bolero::TypeGenerator;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use weir::{
    model::{
        limits::HBONE_PORT,
        seams::{CaptureId, PodListeners},
    },
    proxy::{Command, Shared, Status, Worker},
};

use self::app::{App, BODY, MARK, MARKED};
use crate::{
    input::{self, Piece, spell},
    node::{APP_PORT, NAMESPACE, Node, Pods, SERVICE, identities, read_manifests},
};

/// A client that has sent all it has to say has its answers, and the connection's end, before.
const DEADLINE: Duration = Duration::from_secs(10);

static PANICS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_DATA_PLANE: Cell<bool> = const { Cell::new(false) };
}

/// What a client writes, and after how many bytes it stops for a moment.
#[derive(Clone, Debug, TypeGenerator)]
struct Client {
    says: Says,
    pause: Option<u8>,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Says {
    Http1(Vec<http1::Request>),
    Http2(Vec<http2::Frame>),
    Anything(Vec<Piece>),
}

impl Client {
    fn bytes(&self) -> Vec<u8> {
        /// So that one input takes milliseconds.
        const PARTS_MAX: usize = 8;
        match &self.says {
            Says::Http1(requests) => {
                let requests = requests.iter().take(PARTS_MAX);
                requests.flat_map(http1::Request::bytes).collect()
            }
            Says::Http2(frames) => {
                let frames = frames.iter().take(PARTS_MAX);
                let frames = frames.flat_map(http2::Frame::bytes);
                http2::PREFACE.iter().copied().chain(frames).collect()
            }
            Says::Anything(pieces) => spell(http1::BODIES, pieces),
        }
    }

    /// Says it all, and reads until the agent has ended the connection; what was answered.
    fn run(&self, to: SocketAddr) -> Vec<u8> {
        const PAUSE: Duration = Duration::from_millis(2);
        let bytes = self.bytes();
        let mut stream = connect(to);
        let pause = self.pause.map_or(0, usize::from).min(bytes.len());
        let (first, rest) = bytes.split_at(pause);
        // The agent may have heard enough.
        let _ = stream.write_all(first);
        if pause > 0 {
            std::thread::sleep(PAUSE);
        }
        let _ = stream.write_all(rest);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert!(
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "the connection has not ended after {DEADLINE:?}"
            );
        }
        answer
    }
}

#[test]
fn no_client_breaks_the_data_plane_or_smuggles_a_request() {
    let mesh = Mesh::start(0, false);
    // A shrunk input is not worth the time that this one takes.
    bolero::check!()
        .with_test_time(input::time())
        .with_shrink_time(Duration::ZERO)
        .with_type::<Client>()
        .for_each(|client| mesh.serve(client));
}

#[test]
fn no_client_breaks_the_data_plane_of_another_node() {
    let mesh = Mesh::start(1, true);
    bolero::check!()
        .with_test_time(input::time())
        .with_shrink_time(Duration::ZERO)
        .with_type::<Client>()
        .for_each(|client| mesh.serve(client));
}

/// A client's pod and an application's, on one node or on two.
struct Mesh {
    /// Keep their data planes running.
    _nodes: Vec<Node>,
    app: App,
    to: SocketAddr,
    /// Of the CA.
    _folder: TempDir,
}

impl Mesh {
    /// `pair` of addresses. After a panic, which ends the test, nothing of it is used.
    fn start(pair: u8, cross: bool) -> AssertUnwindSafe<Self> {
        static COUNT_PANICS: Once = Once::new();
        COUNT_PANICS.call_once(|| {
            let panicked = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if IS_DATA_PLANE.get() {
                    PANICS.fetch_add(1, Relaxed);
                }
                panicked(info);
            }));
        });
        let folder = tempfile::tempdir().unwrap();
        let pods = Pods::of_this_process(pair);
        let app = App::start(TcpListener::bind((pods.server, APP_PORT)).unwrap());
        let outbound = TcpListener::bind((pods.client, 0)).unwrap();
        let inbound = TcpListener::bind((pods.server, HBONE_PORT)).unwrap();
        let to = outbound.local_addr().unwrap();

        let delta = read_manifests(folder.path(), &manifests(pods, cross));
        let identities = identities(folder.path());
        let start = |name| {
            let delta = delta.clone();
            Node::start(name, delta, &identities, data_plane)
        };
        let source = start("n1");
        let client = PodListeners {
            outbound: vec![outbound],
            inbound: Vec::new(),
        };
        source.add_pod("client", CaptureId(1), client);
        let destination = cross.then(|| start("n2"));
        let server = PodListeners {
            outbound: Vec::new(),
            inbound: vec![inbound],
        };
        let of_server = destination.as_ref().unwrap_or(&source);
        of_server.add_pod("server", CaptureId(2), server);
        assert_answers(to);
        assert_eq!(app.requests(), 1);
        AssertUnwindSafe(Self {
            _nodes: [Some(source), destination].into_iter().flatten().collect(),
            app,
            to,
            _folder: folder,
        })
    }

    /// Whatever the client says, it gets its answers, and so does the next one.
    fn serve(&self, client: &Client) {
        let answer = client.run(self.to);
        let answer = answer.escape_ascii();
        let sent = client.bytes();
        let sent = sent.escape_ascii();
        assert_eq!(
            self.app.complaints(),
            [""; 0],
            "sent {sent}, answered {answer}"
        );
        assert_eq!(PANICS.load(Relaxed), 0, "sent {sent}, answered {answer}");
        assert_answers(self.to);
    }
}

/// A test of the test: what the application is there to notice, it notices.
#[test]
fn the_application_complains_of_what_is_in_doubt() {
    const IN_ORDER: &str = "POST / HTTP/1.1\r\nx-through: weir\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let app = App::start(listener);
    let mut complaints = 0;
    for (sent, complains) in [
        (IN_ORDER.to_owned(), false),
        (IN_ORDER.repeat(2), false),
        (IN_ORDER.replace("x-through", "x"), true),
        ([IN_ORDER, "GET /smuggled HTTP/1.1\r\n\r\n"].concat(), true),
        (IN_ORDER.replace(": 0", ": +0"), true),
        (
            IN_ORDER.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n"),
            true,
        ),
        (
            IN_ORDER.replace("content-length: 0", "transfer-encoding: chunked") + "0 \r\n\r\n",
            true,
        ),
        (IN_ORDER.replace("content-length: 0", "x: a\nb: c"), true),
        (IN_ORDER.replace("content-length: 0", "x : a"), true),
    ] {
        let mut stream = connect(to);
        stream.write_all(sent.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        complaints += usize::from(complains);
        assert_eq!(app.complaints().len(), complaints, "{sent:?}");
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A request that is in order is answered by the application.
fn assert_answers(to: SocketAddr) {
    let mut stream = connect(to);
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with(BODY), "{answer}");
}

fn data_plane(shared: Arc<Shared>, commands: Receiver<Command>) {
    IS_DATA_PLANE.set(true);
    Worker::run(shared, &Status::default(), commands).unwrap();
}

/// Two pods, a service, and a rule for what can be done to a request, all of which mark it.
fn manifests(pods: Pods, cross: bool) -> String {
    let Pods { client, server } = pods;
    let node = if cross { "n2" } else { "n1" };
    let pod = |name: &str, node: &str, ip: Ipv4Addr| {
        format!(
            "---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: {name}, namespace: {NAMESPACE}, uid: {name}, labels: {{weir.dev/mesh: enabled}}}}\n\
             spec: {{nodeName: {node}, serviceAccountName: {name}, containers: [{{name: app}}]}}\n\
             status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}]}}\n"
        )
    };
    let mark = format!(
        "{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: {MARK}, value: {MARKED}}}]}}}}"
    );
    let backend = format!("backendRefs: [{{name: server, port: {APP_PORT}}}]");
    let rules: String = [
        ("/rewrite", "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}".to_owned()),
        ("/mirror", format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: server, port: {APP_PORT}}}}}}}")),
        ("/cors", "{type: CORS, cors: {allowOrigins: ['https://a.example']}}".to_owned()),
        ("/", String::new()),
    ]
    .map(|(path, filter)| {
        format!("  - {{matches: [{{path: {{type: PathPrefix, value: {path}}}}}], filters: [{mark}, {filter}], {backend}}}\n")
    })
    .concat();
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n{}{}\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: server, namespace: {NAMESPACE}}}\n\
         spec:\n  clusterIP: {SERVICE}\n  clusterIPs: [{SERVICE}]\n\
         \x20 ports: [{{name: web, port: {APP_PORT}, protocol: TCP, appProtocol: http}}]\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: server-1, namespace: {NAMESPACE}, labels: {{kubernetes.io/service-name: server}}}}\n\
         addressType: IPv4\nports: [{{name: web, port: {APP_PORT}, protocol: TCP}}]\n\
         endpoints:\n- {{addresses: [{server}], conditions: {{ready: true}}, nodeName: {node}, \
         targetRef: {{kind: Pod, name: server, namespace: {NAMESPACE}}}}}\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: {NAMESPACE}}}\n\
         spec:\n  parentRefs: [{{group: \"\", kind: Service, name: server, port: {APP_PORT}}}]\n  rules:\n\
         \x20 - {{matches: [{{path: {{type: PathPrefix, value: /redirect}}}}], filters: [{{type: RequestRedirect, requestRedirect: {{scheme: https}}}}]}}\n{rules}",
        pod("client", "n1", client),
        pod("server", node, server),
    )
}
