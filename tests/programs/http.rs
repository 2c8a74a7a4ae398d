//! An HTTP application that tells what it received: HTTP/1.1, and HTTP/2 by prior knowledge.
//!
//! The answer is a JSON object like that of the Gateway API's echo server. What else it shall do
//! the query says, so that it is asked the same way whatever a route makes of the path:
//!
//! | query | does |
//! |---|---|
//! | `status=503` | answers with it |
//! | `delay=500ms` | waits before the head |
//! | `set=NAME:VALUE` | a header of the answer, also several |
//! | `early` | answers at once; the request's body is read and thrown away meanwhile |
//! | `bytes=N` | a body of that many bytes instead of the JSON |
//! | `chunks=N&every=1s` | a body of that many lines, one at a time |
//! | `trailers` | `x-trailer: sent` behind the body |
//! | `break` | a body that breaks off: an h2 stream is reset, an HTTP/1 connection too |
//! | `close` | ends the connection after the answer |
//! | `hang` | never answers |
//! | `reset` | resets the connection instead of answering; in h2 the stream |
//! | `refuse` | REFUSED_STREAM; in HTTP/1 as `reset` |
//!
//! `CONNECT`, and `Upgrade: echo`, make of the connection an echo. A request with `x-call: ADDR,…`
//! is answered with the status of the first of these, which gets the others in a header of the same
//! name ([`call`]). What a scenario changes while it runs, [`orders`] say.

mod call;
mod orders;

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request,
};
use http_body_util::{BodyExt, Channel, Empty, Full, channel::Sender, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};
use tokio::{
    io::{copy, split},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use self::{
    call::Called,
    orders::{Orders, UnderWay},
};
use crate::{Outcome, io::tell};

/// Pieces of a large body.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks between the application and its connection: no more than back-pressure needs.
const CHUNKS_IN_FLIGHT: usize = 2;

type Body = BoxBody<Bytes, io::Error>;

/// One connection, as its requests see it.
struct Connection {
    server: String,
    peer: SocketAddr,
    orders: Orders,
    /// The same socket, for the answer that breaks it.
    socket: std::net::TcpStream,
}

pub(crate) fn run(addr: SocketAddr, name: &str) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(addr, name))
}

async fn serve(addr: SocketAddr, name: &str) -> Outcome {
    let listener = TcpListener::bind(addr).await?;
    let orders = Orders::default();
    orders.listen();
    tell(&json!({"event": "listening", "addr": listener.local_addr()?}));
    loop {
        let (stream, peer) = listener.accept().await?;
        tell(&json!({"event": "accepted", "peer": peer}));
        orders.connected();
        let (name, orders) = (name.to_owned(), orders.clone());
        tokio::spawn(async move {
            let error = match connection(stream, peer, name, orders).await {
                Ok(()) => Value::Null,
                Err(error) => json!(error.to_string()),
            };
            tell(&json!({"event": "closed", "peer": peer, "error": error}));
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    server: String,
    orders: Orders,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let connection = Arc::new(Connection {
        server,
        peer,
        orders,
        socket: stream.try_clone()?,
    });
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { answer(&connection, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Of what the agent lets through, nothing is to fail here.
    builder
        .http2()
        .enable_connect_protocol()
        .max_header_list_size(1 << 20);
    let io = TokioIo::new(TcpStream::from_std(stream)?);
    builder.serve_connection_with_upgrades(io, service).await
}

async fn answer(
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response<Body>, h2::Error> {
    let (parts, body) = request.into_parts();
    let under_way = connection.orders.begin(&parts);
    tell(&json!({
        "event": "request",
        "server": connection.server,
        "peer": connection.peer,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "host": host(&parts),
        "id": parts.headers.get("x-request-id").map(|id| String::from_utf8_lossy(id.as_bytes())),
    }));
    let own = parts.uri.query().unwrap_or_default();
    let text = format!("{}&{own}", under_way.query);
    let query = Query::of(&text);
    if wants_echo(&parts) {
        under_way.answered();
        return Ok(echo(Request::from_parts(parts, body)));
    }
    let received = if query.has("early") {
        // Unread bytes would make the kernel reset the connection, and take the answer with it. But
        // a body that is expected is asked for by reading it.
        if !parts.headers.contains_key("expect") {
            tokio::spawn(Received::read(body));
        }
        None
    } else {
        Some(Received::read(body).await)
    };
    if let Some(received) = &received {
        tell(&json!({
            "event": "received",
            "path": parts.uri.path(),
            "bytes": received.bytes,
            "error": received.error,
        }));
    }
    if query.has("hang") {
        std::future::pending::<()>().await;
    }
    let called = work(connection, &parts, query.duration("delay")).await;
    if query.has("reset") || query.has("refuse") {
        under_way.answered();
        if parts.version < http::Version::HTTP_2 {
            let _ = set_socket_linger(&connection.socket, Some(Duration::ZERO));
        }
        return Err(failure(query.has("refuse")));
    }
    let report = report(connection, &under_way, &parts, received, called.as_ref());
    let status = called.map(|called| StatusCode::from_u16(called.status));
    let status = status.and_then(Result::ok).unwrap_or(query.status());
    // In HTTP/2 hyper leaves it to the application what has no body.
    let is_head = parts.method == Method::HEAD;
    let has_none = matches!(status.as_u16(), 204 | 304);
    let body = match is_head || has_none {
        true => Empty::new().map_err(|never| match never {}).boxed(),
        false => body_of(&query, &report, connection),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if is_head {
        headers.insert(header::CONTENT_LENGTH, report.to_string().len().into());
    }
    if !query.has("bytes") && !query.has("chunks") {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    if query.has("close") && parts.version < http::Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if query.has("trailers") {
        headers.insert(header::TRAILER, HeaderValue::from_static("x-trailer"));
    }
    for pair in query.all("set") {
        if let Some((name, value)) = pair.split_once(':')
            && let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
        {
            headers.append(name, value);
        }
    }
    under_way.answered();
    Ok(response)
}

/// What takes time: at once, or when it is the request's turn.
async fn work(connection: &Connection, parts: &request::Parts, delay: Duration) -> Option<Called> {
    let Some(capacity) = connection.orders.capacity() else {
        sleep(delay).await;
        return call::next(&parts.headers).await;
    };
    let headers = parts.headers.clone();
    // A thread of a pool does not hear that the client has gone.
    let job = tokio::spawn(async move {
        let _turn = capacity.acquire().await;
        sleep(delay).await;
        call::next(&headers).await
    });
    job.await.ok().flatten()
}

/// What ends a connection, or a stream, without an answer.
fn failure(refuses: bool) -> h2::Error {
    // hyper closes an HTTP/1 connection whatever the error, and gives an h2 stream its reason.
    h2::Error::from(match refuses {
        true => h2::Reason::REFUSED_STREAM,
        false => h2::Reason::INTERNAL_ERROR,
    })
}

/// What the answer tells of its request.
fn report(
    connection: &Connection,
    under_way: &UnderWay,
    parts: &request::Parts,
    received: Option<Received>,
    called: Option<&Called>,
) -> Value {
    let mut report = json!({
        "number": under_way.number,
        "server": connection.server,
        "peer": connection.peer,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "host": host(parts),
        "version": format!("{:?}", parts.version),
        "headers": lists(&parts.headers),
    });
    if let Some(called) = called {
        report["called"] = called.report.clone();
    }
    if let Some(received) = received {
        report["body_bytes"] = json!(received.bytes);
        report["body_sha256"] = json!(received.sha256);
        report["body_error"] = json!(received.error);
        report["trailers"] = json!(lists(&received.trailers));
        if let Ok(text) = std::str::from_utf8(&received.start) {
            report["body"] = json!(text);
        }
    }
    report
}

/// `:authority` or the header.
fn host(parts: &request::Parts) -> Option<String> {
    let header = || parts.headers.get(header::HOST)?.to_str().ok();
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    authority.or_else(header).map(str::to_owned)
}

/// Lower-case name → all its values, in order.
fn lists(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut lists: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        lists.entry(name.to_string()).or_default().push(value);
    }
    lists
}

/// A request's body, read to its end.
struct Received {
    bytes: u64,
    sha256: String,
    /// The first bytes of it.
    start: Vec<u8>,
    trailers: HeaderMap,
    error: Option<String>,
}

impl Received {
    /// So much of a body the answer repeats.
    const START_BYTES: usize = 256;

    async fn read(mut body: Incoming) -> Self {
        let mut received = Self {
            bytes: 0,
            sha256: String::new(),
            start: Vec::new(),
            trailers: HeaderMap::new(),
            error: None,
        };
        let mut sum = digest::Context::new(&digest::SHA256);
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => {
                    received.bytes += data.len() as u64;
                    sum.update(&data);
                    let room = Self::START_BYTES - received.start.len();
                    received.start.extend(data.iter().take(room));
                }
                Ok(Err(frame)) => {
                    received.trailers = frame.into_trailers().unwrap_or_default();
                }
                Err(error) => {
                    received.error = Some(error.to_string());
                    break;
                }
            }
        }
        let sum = sum.finish();
        received.sha256 = sum
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        received
    }
}

fn body_of(query: &Query, report: &Value, connection: &Connection) -> Body {
    let text = Bytes::from(format!("{report}\n"));
    let is_plain = ["bytes", "chunks", "trailers", "break"]
        .iter()
        .all(|key| !query.has(key));
    if is_plain {
        return Full::new(text).map_err(|never| match never {}).boxed();
    }
    let (sender, body) = Channel::<Bytes, io::Error>::new(CHUNKS_IN_FLIGHT);
    let socket = query.has("break").then(|| connection.socket.try_clone());
    let stream = Stream {
        text,
        bytes: query.number("bytes"),
        chunks: query.number("chunks"),
        every: query.duration("every"),
        has_trailers: query.has("trailers"),
        breaks: socket.and_then(Result::ok),
    };
    tokio::spawn(stream.send(sender));
    body.boxed()
}

/// A body that is sent piece by piece.
struct Stream {
    text: Bytes,
    bytes: Option<usize>,
    chunks: Option<usize>,
    every: Duration,
    has_trailers: bool,
    breaks: Option<std::net::TcpStream>,
}

impl Stream {
    async fn send(self, mut to: Sender<Bytes, io::Error>) {
        let began = Instant::now();
        let sent = self.send_data(&mut to).await;
        tell(&json!({
            "event": "streamed",
            "complete": sent.is_ok(),
            "ms": began.elapsed().as_millis() as u64,
        }));
        if sent.is_err() {
            return;
        }
        if let Some(socket) = self.breaks {
            // What was written is on its way, and then the kernel has nothing but a reset to say.
            sleep(Duration::from_millis(50)).await;
            let _ = set_socket_linger(&socket, Some(Duration::ZERO));
            to.abort(io::ErrorKind::Other.into());
        } else if self.has_trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", HeaderValue::from_static("sent"));
            let _ = to.send_trailers(trailers).await;
        }
    }

    async fn send_data(
        &self,
        to: &mut Sender<Bytes, io::Error>,
    ) -> Result<(), http_body_util::channel::SendError> {
        if let Some(bytes) = self.bytes {
            let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
            let mut left = bytes;
            while left > 0 {
                let length = left.min(CHUNK_BYTES);
                to.send_data(chunk.slice(..length)).await?;
                left -= length;
            }
        } else if let Some(chunks) = self.chunks {
            for number in 0..chunks {
                to.send_data(format!("chunk {number}\n").into()).await?;
                sleep(self.every).await;
            }
        } else {
            to.send_data(self.text.clone()).await?;
        }
        Ok(())
    }
}

fn wants_echo(parts: &request::Parts) -> bool {
    parts.method == Method::CONNECT
        || parts
            .headers
            .get(header::UPGRADE)
            .is_some_and(|protocol| protocol == "echo")
}

/// From here on bytes come back as they are.
fn echo(request: Request<Incoming>) -> Response<Body> {
    let is_connect = request.method() == Method::CONNECT;
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut reader, mut writer) = split(TokioIo::new(upgraded));
            let echoed = copy(&mut reader, &mut writer).await.ok();
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
            tell(&json!({"event": "echoed", "bytes": echoed}));
        }
    });
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    if !is_connect {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("echo"));
    }
    response
}

/// `a=1&b`, without percent-decoding: nothing here needs it.
struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    fn of(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .collect(),
        )
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(name, _)| *name == key);
        found.map(|(_, value)| *value)
    }

    fn has(&self, key: &str) -> bool {
        self.all(key).next().is_some()
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.all(key).next()?.parse().ok()
    }

    /// `500ms` or `2s`; nothing is no time.
    fn duration(&self, key: &str) -> Duration {
        let text = self.all(key).next().unwrap_or_default();
        let parse = |number: &str| number.parse().unwrap_or(0);
        match text.strip_suffix("ms") {
            Some(number) => Duration::from_millis(parse(number)),
            None => Duration::from_secs(parse(text.trim_end_matches('s'))),
        }
    }

    fn status(&self) -> StatusCode {
        let said = self.all("status").next().map(str::parse);
        said.and_then(Result::ok).unwrap_or_default()
    }
}
