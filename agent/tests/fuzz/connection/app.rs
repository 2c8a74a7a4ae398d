//! An application that complains of whatever could be read in two ways.

use std::{
    convert::Infallible,
    net,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// The header that the route gives every request.
pub(super) const MARK: &str = "x-through";
pub(super) const MARKED: &str = "weir";

/// Of every answer.
pub(super) const BODY: &str = "ok";

/// Beyond what the agent takes: a head without an end.
const HEAD_BYTES_MAX: usize = 128 << 10;

#[derive(Clone, Default)]
pub(super) struct App(Arc<Seen>);

#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    complaints: Mutex<Vec<String>>,
}

/// How long a body is (RFC 9112 §6.3).
enum Framing {
    Length(u64),
    Chunked,
}

/// Why a connection ended.
enum End {
    /// The agent may break off what its client has broken off.
    Closed,
    Complaint(String),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Closed
    }
}

impl App {
    /// Serves on a thread of its own until the process ends.
    pub(super) fn start(listener: net::TcpListener) -> Self {
        let app = Self::default();
        let own = app.clone();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(own.clone().serve(stream));
                }
            });
        });
        app
    }

    pub(super) fn requests(&self) -> usize {
        self.0.requests.load(Relaxed)
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.0.complaints.lock().unwrap().clone()
    }

    async fn serve(self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut first = [0; 3];
        if matches!(stream.peek(&mut first).await, Ok(3..)) && first == *b"PRI" {
            return self.http2(stream).await;
        }
        // It is still open when there is a complaint, so that who waits for its end finds that.
        let mut stream = BufReader::new(stream);
        if let Err(End::Complaint(complaint)) = self.http1(&mut stream).await {
            self.0.complaints.lock().unwrap().push(complaint);
        }
    }

    /// Here the library has framed it; whether the agent made it is the same question.
    async fn http2(&self, stream: TcpStream) {
        let app = self.clone();
        let service = service_fn(move |request| app.clone().answer(request));
        let _ = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<&'static [u8]>>, Infallible> {
        self.0.requests.fetch_add(1, Relaxed);
        let marks = request.headers().get_all(MARK).iter();
        if !marks.eq([MARKED]) {
            let complaint = format!("{} {:?}", request.uri(), request.headers());
            self.0.complaints.lock().unwrap().push(complaint);
        }
        let _ = request.into_body().collect().await;
        Ok(Response::new(Full::new(BODY.as_bytes())))
    }

    async fn http1(&self, stream: &mut Stream) -> Result<(), End> {
        loop {
            let head = read_head(stream).await?;
            self.0.requests.fetch_add(1, Relaxed);
            let (method, framing, expects) = check(&head)
                .map_err(|what| End::Complaint(format!("{what}: {}", head.escape_ascii())))?;
            if expects {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            match framing {
                Framing::Length(length) => skip(stream, length).await?,
                Framing::Chunked => chunks(stream).await?,
            }
            let status = match &*method {
                // 200 would begin a tunnel.
                "CONNECT" => "405 Method Not Allowed",
                _ => "200 OK",
            };
            let body = if method == "HEAD" { "" } else { BODY };
            let length = BODY.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

type Stream = BufReader<TcpStream>;

/// To the empty line, which is its end.
async fn read_head(stream: &mut Stream) -> Result<Vec<u8>, End> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(End::Complaint("a head without an end".to_owned()));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// A line without its end.
async fn read_line(stream: &mut Stream) -> Result<Vec<u8>, End> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await?);
        if line.len() == HEAD_BYTES_MAX {
            return Err(End::Complaint("a line without an end".to_owned()));
        }
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

async fn skip(stream: &mut Stream, length: u64) -> Result<(), End> {
    let mut body = stream.take(length);
    let read = tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
    if read < length {
        Err(End::Closed)
    } else {
        Ok(())
    }
}

async fn chunks(stream: &mut Stream) -> Result<(), End> {
    loop {
        let line = read_line(stream).await?;
        let strict = !line.is_empty() && line.iter().all(u8::is_ascii_hexdigit);
        let text = String::from_utf8_lossy(&line);
        let Some(size) = u64::from_str_radix(&text, 16).ok().filter(|_| strict) else {
            let complaint = format!("a chunk of size {}", line.escape_ascii());
            return Err(End::Complaint(complaint));
        };
        if size == 0 {
            break;
        }
        skip(stream, size).await?;
        let after = [stream.read_u8().await?, stream.read_u8().await?];
        if after != *b"\r\n" {
            let complaint = format!("{} after a chunk", after.escape_ascii());
            return Err(End::Complaint(complaint));
        }
    }
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Ok(());
        }
        field(&line).map_err(End::Complaint)?;
    }
}

/// Method, length, and whether it waits for 100 (Continue).
fn check(head: &[u8]) -> Result<(String, Framing, bool), String> {
    let text = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let text: String = text.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let request = lines.next().unwrap_or_default();
    let [method, target, "HTTP/1.1"] = request.split(' ').collect::<Vec<_>>()[..] else {
        return Err("no request line".to_owned());
    };
    if !is_token(method)
        || target.is_empty()
        || !target.bytes().all(|byte| byte > b' ' && byte != 0x7f)
    {
        return Err("no request line".to_owned());
    }
    let mut fields = Vec::new();
    for line in lines {
        fields.push(field(line.as_bytes())?);
    }
    let all = |wanted: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| value.as_str()).collect()
    };
    if all(MARK) != [MARKED] {
        return Err("the agent has not seen this request".to_owned());
    }
    if all("host").len() > 1 {
        return Err("two hosts".to_owned());
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let framing = match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => Framing::Length(0),
        ([], [length]) if digits(length) => {
            Framing::Length(length.parse().map_err(|_| "a length".to_owned())?)
        }
        (["chunked"], []) => Framing::Chunked,
        _ => return Err("two lengths, or none that is plain".to_owned()),
    };
    Ok((method.to_owned(), framing, !all("expect").is_empty()))
}

/// Name, in lower case, and value (RFC 9112 §5): no folding, no blank before the colon.
fn field(line: &[u8]) -> Result<(String, String), String> {
    let text: String = line.iter().map(|byte| char::from(*byte)).collect();
    let wrong = || format!("no field: {}", line.escape_ascii());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    if !is_token(name) || value.contains(['\r', '\n', '\0']) {
        return Err(wrong());
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn is_token(text: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_tchar)
}
