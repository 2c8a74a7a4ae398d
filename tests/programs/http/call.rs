//! Applications that ask others before they answer: a chain of services.

use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The addresses of those to ask: the first is asked, and is to ask the rest.
const CALL: &str = "x-call";
/// What an application hands on that knows of tracing and of nothing else.
const HANDED_ON: [&str; 2] = ["traceparent", "tracestate"];

/// How the call ended, for the answer: its status, and what was told.
pub(super) struct Called {
    pub(super) status: u16,
    pub(super) report: Value,
}

/// Asks whom the request says, if it says so, over a connection of its own and without a timeout: an application
/// with neither a pool nor patience to lose.
pub(super) async fn next(headers: &HeaderMap) -> Option<Called> {
    let addresses = headers.get(CALL)?.to_str().ok()?;
    let (addr, rest) = addresses.split_once(',').unwrap_or((addresses, ""));
    let called = ask(addr, rest, headers).await;
    Some(called.unwrap_or_else(|error| Called {
        status: 502,
        report: json!({"error": error.to_string()}),
    }))
}

async fn ask(
    addr: &str,
    rest: &str,
    headers: &HeaderMap,
) -> Result<Called, Box<dyn std::error::Error + Send + Sync>> {
    let io = TokioIo::new(TcpStream::connect(addr).await?);
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    let mut request = Request::get("/").body(Empty::<Bytes>::new())?;
    let own = request.headers_mut();
    own.insert(header::HOST, HeaderValue::from_str(addr)?);
    if !rest.is_empty() {
        own.insert(CALL, HeaderValue::from_str(rest)?);
    }
    for name in HANDED_ON {
        for value in headers.get_all(name) {
            own.append(name, value.clone());
        }
    }
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let text = body.collect().await?.to_bytes();
    let reason = parts.headers.get("x-weir-reason");
    Ok(Called {
        status: parts.status.as_u16(),
        report: json!({
            "status": parts.status.as_u16(),
            "reason": reason.map(|reason| String::from_utf8_lossy(reason.as_bytes())),
            "body": serde_json::from_slice::<Value>(&text).ok(),
        }),
    })
}
